//! What goes wrong in a world, on demand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::in_range;
use crate::domain::{Knob, KnobValue, ServingConfig};
use crate::serving::{Error, Purpose};

/// Which servers a fault is for: what they were *started* for. A canary that became stable keeps its slow node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppliesTo {
    /// The server that users were on when the world began.
    Stable,
    /// Servers started for a trial.
    Trial,
    /// Servers started for a canary.
    Canary,
    /// Every server.
    All,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Fault {
    /// The node that the server lands on is slower than the others.
    SlowNode {
        /// Whose.
        applies_to: AppliesTo,
        /// Factor on every step; 1.6 takes 60 % longer.
        slowdown: f64,
        /// Begins this long after the server is ready [s].
        #[serde(default)]
        from_s: f64,
    },
    /// The server dies.
    Crash {
        /// Whose.
        applies_to: AppliesTo,
        /// This long after it is ready [s].
        after_s: f64,
    },
    /// The server does not start when a knob has a value.
    FailsToStart {
        /// The config that does not start.
        when: Setting,
    },
    /// A share of requests fails with status 500.
    ErrorRate {
        /// Whose.
        applies_to: AppliesTo,
        /// Share, 0–1.
        ratio: f64,
    },
    /// Every device runs hot and slow for a while: nobody's rollout is to blame.
    GpuThrottle {
        /// Begins [s since the world's start].
        from_s: f64,
        /// Ends [s since the world's start]; left out: never.
        #[serde(default)]
        until_s: Option<f64>,
        /// Factor on every step.
        slowdown: f64,
    },
}

/// One knob at one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The knob.
    pub knob: Knob,
    /// The value.
    pub value: KnobValue,
}

impl AppliesTo {
    fn covers(self, purpose: Purpose) -> bool {
        match self {
            Self::All => true,
            Self::Stable => purpose == Purpose::Stable,
            Self::Trial => purpose == Purpose::Trial,
            Self::Canary => purpose == Purpose::Canary,
        }
    }
}

impl Fault {
    /// Whether the numbers make sense.
    ///
    /// Errors: [`Error::InvalidWorld`].
    pub(super) fn check(&self) -> Result<(), Error> {
        let later = |value: f64| in_range("faults: moment", value, (0.0, 1e9), "0 or later [s]");
        let slowdown =
            |value: f64| in_range("faults: slowdown", value, (0.01, 100.0), "0.01 to 100");
        match self {
            Self::SlowNode { slowdown: factor, from_s, .. } => {
                slowdown(*factor)?;
                later(*from_s)
            }
            Self::Crash { after_s, .. } => later(*after_s),
            Self::FailsToStart { .. } => Ok(()),
            Self::ErrorRate { ratio, .. } => {
                in_range("faults: ratio", *ratio, (0.0, 1.0), "0 to 1")
            }
            Self::GpuThrottle { from_s, until_s, slowdown: factor } => {
                slowdown(*factor)?;
                later(*from_s)?;
                until_s.map_or(Ok(()), later)
            }
        }
    }
}

/// A time in which every step takes `factor` times as long. Moments are [s since the world's start].
#[derive(Debug, Clone, Copy, PartialEq)]
struct Slow {
    from_s: f64,
    until_s: f64,
    factor: f64,
    /// The device says so itself.
    throttled: bool,
}

impl Slow {
    fn on(&self, now_s: f64) -> bool {
        self.from_s <= now_s && now_s < self.until_s
    }
}

/// What one server has to suffer. Moments are [s since the world's start].
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fate {
    slow: Vec<Slow>,
    crash_s: Option<f64>,
    /// Share of requests that fail, 0–1.
    pub(super) error_ratio: f64,
}

impl Fate {
    /// The fate of a server that is started for `purpose` and ready at `ready_s`.
    pub(super) fn of(faults: &[Fault], purpose: Purpose, ready_s: f64) -> Self {
        let mut fate = Self::default();
        for fault in faults {
            match fault {
                Fault::SlowNode { applies_to, slowdown, from_s } if applies_to.covers(purpose) => {
                    let (from_s, until_s) = (ready_s + from_s, f64::INFINITY);
                    fate.slow.push(Slow { from_s, until_s, factor: *slowdown, throttled: false });
                }
                Fault::Crash { applies_to, after_s } if applies_to.covers(purpose) => {
                    let at_s = ready_s + after_s;
                    fate.crash_s = Some(fate.crash_s.map_or(at_s, |known| known.min(at_s)));
                }
                Fault::ErrorRate { applies_to, ratio } if applies_to.covers(purpose) => {
                    fate.error_ratio = *ratio;
                }
                Fault::GpuThrottle { from_s, until_s, slowdown } => {
                    let (from_s, until_s) = (*from_s, until_s.unwrap_or(f64::INFINITY));
                    fate.slow.push(Slow { from_s, until_s, factor: *slowdown, throttled: true });
                }
                _ => {}
            }
        }
        fate
    }

    /// When something changes next after `now_s`.
    pub(super) fn next_s(&self, now_s: f64) -> Option<f64> {
        let slow = self.slow.iter().flat_map(|slow| [slow.from_s, slow.until_s]);
        let moments = slow.chain(self.crash_s).filter(|at_s| *at_s > now_s && at_s.is_finite());
        moments.reduce(f64::min)
    }

    /// Factor on every step at `now_s`.
    pub(super) fn slowdown(&self, now_s: f64) -> f64 {
        self.slow.iter().filter(|slow| slow.on(now_s)).map(|slow| slow.factor).product()
    }

    /// Whether the devices say that they are held back.
    pub(super) fn throttled(&self, now_s: f64) -> bool {
        self.slow.iter().any(|slow| slow.throttled && slow.on(now_s))
    }

    /// Whether the server has died by `now_s`.
    pub(super) fn crashed(&self, now_s: f64) -> bool {
        self.crash_s.is_some_and(|at_s| at_s <= now_s)
    }
}

/// The setting that a fault forbids, if `config` has one.
pub(super) fn forbidden<'a>(faults: &'a [Fault], config: &ServingConfig) -> Option<&'a Setting> {
    faults.iter().find_map(|fault| match fault {
        Fault::FailsToStart { when } if config.value(when.knob) == Some(&when.value) => Some(when),
        _ => None,
    })
}
