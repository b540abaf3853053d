//! What a load looks like, and whether it may be put where it is meant to go.

use std::net::IpAddr;

use http::Uri;

use super::Error;
use crate::domain::{Objective, WorkloadProfile};

/// A load on one endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// `http://127.0.0.1:8100`.
    pub url: String,
    /// Name under which the model is served.
    pub served_model: String,
    /// Rate, lengths and shared prefix. The lengths are those of a session's first turn.
    pub profile: WorkloadProfile,
    /// Turns of a conversation.
    pub sessions: Sessions,
    /// Offered before the measured window [s].
    pub warmup_s: f64,
    /// Length of the measured window [s].
    pub duration_s: f64,
    /// Seed of arrivals, lengths and texts. Another seed gives prompts that no cache has seen.
    pub seed: u64,
    /// Longest answer that is asked for [tokens], whatever the profile says.
    pub max_tokens: u32,
    /// Ask for exactly the drawn number of tokens (`ignore_eos`, which vLLM and SGLang know).
    pub ignore_eos: bool,
    /// A request that takes longer counts as failed, or cut when it had begun to answer [s].
    pub timeout_s: f64,
    /// Put load on other machines too.
    pub allow_remote: bool,
    /// Bounds for the goodput in the report.
    pub objective: Option<Objective>,
}

/// How requests form conversations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sessions {
    /// Requests of one session; each carries the history before it.
    pub turns: u32,
    /// Mean gap between two turns of a session [s].
    pub think_s: f64,
}

impl LoadOptions {
    /// A load of single-turn sessions for 60 s after 5 s of warm-up, requests given up after 120 s.
    pub fn new(url: &str, served_model: &str, profile: WorkloadProfile, seed: u64) -> Self {
        Self {
            url: url.to_owned(),
            served_model: served_model.to_owned(),
            profile,
            sessions: Sessions { turns: 1, think_s: 10.0 },
            warmup_s: 5.0,
            duration_s: 60.0,
            seed,
            max_tokens: 4096,
            ignore_eos: true,
            timeout_s: 120.0,
            allow_remote: false,
            objective: None,
        }
    }

    /// Checks the load, and that its target is on this machine unless others are allowed; gives the endpoint.
    ///
    /// Errors: [`Error`].
    pub(super) fn endpoint(&self) -> Result<Uri, Error> {
        self.check()?;
        let bad = |detail: &str| Error::BadUrl { url: self.url.clone(), detail: detail.to_owned() };
        let base: Uri = self.url.parse().map_err(|_| bad("not a URL"))?;
        if base.scheme_str() != Some("http") {
            return Err(bad("the scheme must be http"));
        }
        let host = base.host().ok_or_else(|| bad("no host"))?;
        if !self.allow_remote && !is_loopback(host) {
            return Err(Error::Remote(host.to_owned()));
        }
        let root = self.url.trim_end_matches('/').trim_end_matches("/v1");
        format!("{root}/v1/chat/completions").parse().map_err(|_| bad("not a URL"))
    }

    fn check(&self) -> Result<(), Error> {
        let profile = &self.profile;
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let checks = [
            ("request_rate_rps", profile.request_rate_rps, positive(profile.request_rate_rps)),
            ("input_tokens.p50", profile.input_tokens.p50, profile.input_tokens.p50 >= 1.0),
            ("output_tokens.p50", profile.output_tokens.p50, profile.output_tokens.p50 >= 1.0),
            ("duration_s", self.duration_s, positive(self.duration_s)),
            ("timeout_s", self.timeout_s, positive(self.timeout_s)),
            ("sessions.think_s", self.sessions.think_s, positive(self.sessions.think_s)),
            ("sessions.turns", f64::from(self.sessions.turns), self.sessions.turns >= 1),
        ];
        let expected = "a number above zero";
        for (field, value, fine) in checks {
            if !fine {
                return Err(Error::BadLoad { field, value: value.to_string(), expected });
            }
        }
        let bounded = [
            ("arrival_cv", profile.arrival_cv, (0.0..=10.0), "0 to 10"),
            ("shared_prefix_ratio", profile.shared_prefix_ratio, (0.0..=1.0), "0 to 1"),
            ("warmup_s", self.warmup_s, (0.0..=86_400.0), "0 to 86400"),
        ];
        for (field, value, range, expected) in bounded {
            if !range.contains(&value) {
                return Err(Error::BadLoad { field, value: value.to_string(), expected });
            }
        }
        Ok(())
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
