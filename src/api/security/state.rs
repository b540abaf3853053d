//! What the guards of a server share.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};
use secrecy::SecretString;

use super::bucket::Buckets;
use super::{Audit, Caller, Keys, Limits, Outbound, SecurityOptions};
use crate::agent::{Agent, Reach};
use crate::api::{Error, guard};
use crate::base::Clock;

/// The header that LangGraph's clients send their key in.
const API_KEY: &str = "x-api-key";
/// Refusals of those without a key that are written down [1/s]; twice that at once.
const STRANGERS_RPS: f64 = 5.0;

/// What the guards of a server share.
pub(in crate::api) struct Security {
    pub(in crate::api) keys: Keys,
    /// Decided when the server starts: revoking the last key opens nothing.
    keyed: bool,
    buckets: Buckets,
    pub(in crate::api) audit: Arc<Audit>,
    /// Origins whose pages may call.
    pub(in crate::api) origins: Vec<HeaderValue>,
    pub(in crate::api) outbound: Outbound,
    /// The same guard, for deployments that callers add.
    pub(in crate::api) reach: Arc<dyn Reach>,
    pub(in crate::api) webhook_secret: Option<SecretString>,
    pub(in crate::api) limits: Limits,
    /// How often those without a key are written down: they must not fill the disk.
    strangers: Buckets,
    pub(in crate::api) clock: Arc<dyn Clock>,
}

impl Security {
    /// Reads the keys; with any, every route but the open ones asks for one.
    ///
    /// Errors: an option that makes no sense, a store that fails, an audit file that cannot be written.
    pub(in crate::api) async fn open(
        agent: &Agent,
        options: SecurityOptions,
    ) -> Result<Self, Error> {
        if !(options.rate_rps > 0.0 && options.rate_rps <= 1e6) {
            let detail = format!("a rate of {} requests per second", options.rate_rps);
            return Err(Error::InvalidOption(detail));
        }
        let keys = Keys::open(agent.documents().clone()).await?;
        let origins = options.cors_origins.iter().map(|origin| parsed(origin));
        Ok(Self {
            keyed: keys.any_counts(),
            keys,
            buckets: Buckets::new(options.rate_rps),
            audit: Arc::new(Audit::open(options.audit)?),
            origins: origins.collect::<Result<_, _>>()?,
            reach: Arc::new(options.outbound.clone()),
            outbound: options.outbound,
            webhook_secret: options.webhook_secret,
            limits: options.limits,
            strangers: Buckets::new(STRANGERS_RPS),
            clock: options.clock,
        })
    }

    /// Whether another refusal of somebody without a key may be written down now.
    pub(super) fn may_note_stranger(&self) -> bool {
        self.strangers.take("", self.clock.now()).is_ok()
    }

    /// Whether keys are asked for.
    pub(in crate::api) fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// Who sends this; a key that asks too often is told when to come again.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        if !self.keyed {
            guard::check(headers, &self.origins)?;
            return Ok(Caller::local());
        }
        let caller = secret(headers).and_then(|secret| self.keys.holder(secret));
        let caller = caller.ok_or(Error::Unauthenticated)?;
        let id = caller.key_id().unwrap_or_default();
        self.buckets
            .take(id, self.clock.now())
            .map_err(|retry_after_s| Error::RateLimited { retry_after_s })?;
        Ok(caller)
    }
}

/// The one key that a request carries; two that differ are none.
fn secret(headers: &HeaderMap) -> Option<&str> {
    let bearers = headers.get_all(header::AUTHORIZATION).iter();
    let plain = headers.get_all(API_KEY).iter();
    let mut found = bearers
        .map(|value| value.to_str().ok().and_then(bearer))
        .chain(plain.map(|value| value.to_str().ok()));
    let first = found.next()??;
    found.all(|other| other == Some(first)).then_some(first)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn parsed(origin: &str) -> Result<HeaderValue, Error> {
    let uri: Option<axum::http::Uri> = origin.parse().ok();
    let is_origin = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some()
            && uri.path_and_query().is_none_or(|path| path == "/")
    });
    let value = HeaderValue::from_str(origin).ok().filter(|_| is_origin && !origin.ends_with('/'));
    value.ok_or_else(|| {
        Error::InvalidOption(format!(
            "`{origin}` is no origin; expected `https://chat.example.org`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: axum::http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        secret(&headers).map(str::to_owned)
    }

    #[test]
    fn a_key_is_found_in_either_header_and_never_two_at_once() {
        assert_eq!(found(&[("authorization", "Bearer a")]).as_deref(), Some("a"));
        assert_eq!(found(&[("authorization", "bearer  a")]).as_deref(), Some("a"));
        assert_eq!(found(&[("x-api-key", "a")]).as_deref(), Some("a"));
        assert_eq!(
            found(&[("authorization", "Bearer a"), ("x-api-key", "a")]).as_deref(),
            Some("a")
        );
        assert_eq!(found(&[("authorization", "Bearer a"), ("x-api-key", "b")]), None);
        assert_eq!(found(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]), None);
        assert_eq!(found(&[("authorization", "Basic a")]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for good in ["https://a.example", "http://localhost:3000"] {
            assert!(parsed(good).is_ok(), "{good}");
        }
        for bad in
            ["*", "null", "a.example", "https://a.example/", "https://a.example/x", "ftp://a"]
        {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
