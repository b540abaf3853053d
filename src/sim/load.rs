//! Loads without their rate: lengths, bursts, sessions, and what prompts share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lengths::{Lengths, LogNormal};
use crate::domain::WorkloadProfile;

/// A built-in workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Chat: lengths of Azure's 2023 conversation trace, 1155 in and 211 out on average.
    Chat,
    /// Code completion: lengths of Azure's 2023 code trace, 2048 in and 28 out, in bursts.
    Code,
    /// Long documents in conversation: lengths of Mooncake's trace, 12 k in and 340 out, a third of it sent before.
    LongContext,
    /// Reasoning: 1 k in, 1.4 k out.
    Reasoning,
    /// Agents: many turns over a long shared prefix.
    Agents,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Chat, Self::Code, Self::LongContext, Self::Reasoning, Self::Agents];
}

/// A load without its rate.
///
/// A session is a conversation: its turns' prompts are drawn like all others and sent in order of length, and each
/// begins with what the turn before it said and was answered, as far as it is long enough.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    pub(super) lengths: Lengths,
    /// Coefficient of variation of the gaps between session starts; 1 is Poisson.
    pub(super) arrival_cv: f64,
    /// Turns of a session, mean of a geometric distribution.
    pub(super) turns_mean: f64,
    /// Pause between the end of reading an answer and the next turn, mean [s].
    pub(super) think_mean_s: f64,
    /// Leading prompt tokens that every session shares: a system prompt.
    pub(super) system_tokens: u32,
    /// Leading share of each prompt that everybody sends, 0–1.
    pub(super) common_ratio: f64,
}

impl Workload {
    /// A built-in workload. Lengths are recorded ones where a trace is named; sessions, bursts and shared prefixes are
    /// assumptions in the range of published traces (`docs/simulator.md`).
    pub fn of(kind: Kind) -> Self {
        let fitted = |input: f64, output: f64| Lengths::Fitted {
            input: LogNormal::new(input, 0.6),
            output: LogNormal::new(output, 0.7),
        };
        let chat = Self {
            lengths: Lengths::azure_conversation(),
            arrival_cv: 1.0,
            turns_mean: 2.0,
            think_mean_s: 20.0,
            system_tokens: 0,
            common_ratio: 0.0,
        };
        match kind {
            Kind::Chat => chat,
            Kind::Code => {
                Self { lengths: Lengths::azure_code(), arrival_cv: 4.0, turns_mean: 1.0, ..chat }
            }
            Kind::LongContext => Self {
                lengths: Lengths::mooncake(),
                turns_mean: 2.4,
                think_mean_s: 40.0,
                system_tokens: 512,
                ..chat
            },
            Kind::Reasoning => Self { lengths: fitted(1000.0, 1400.0), turns_mean: 1.3, ..chat },
            Kind::Agents => Self {
                lengths: fitted(6000.0, 250.0),
                turns_mean: 6.0,
                think_mean_s: 3.0,
                system_tokens: 1024,
                ..chat
            },
        }
    }

    /// A workload that looks like what was observed: log-normal lengths by mean, median and 95th percentile, gaps by
    /// their variation, and the observed share of each prompt in common with all others.
    pub fn from_profile(profile: &WorkloadProfile) -> Self {
        Self {
            lengths: Lengths::Fitted {
                input: LogNormal::fit(&profile.input_tokens),
                output: LogNormal::fit(&profile.output_tokens),
            },
            arrival_cv: profile.arrival_cv.clamp(0.1, 20.0),
            turns_mean: 1.0,
            think_mean_s: 0.0,
            system_tokens: 0,
            common_ratio: profile.shared_prefix_ratio.clamp(0.0, 1.0),
        }
    }
}
