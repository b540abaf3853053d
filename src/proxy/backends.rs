//! The backends a proxy has known, each with its count of requests under way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::uri::{Authority, Scheme};

use crate::base::stable_hash;
use crate::domain::Backend;

use super::Error;

/// Backends out of the table that are remembered, so that a drain can still be watched.
const RETIRED_KEPT: usize = 256;

/// One backend, ready to be called.
#[derive(Debug)]
pub struct BackendState {
    /// Its id in the table.
    pub id: String,
    /// `host:port`.
    pub authority: Authority,
    /// For the choice among the backends of an arm.
    pub hash: u64,
    url: String,
    in_flight: AtomicU64,
}

impl BackendState {
    /// Parses `http://host:port`.
    ///
    /// Errors: [`Error::InvalidTable`] for anything else.
    fn parse(backend: &Backend) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Error::InvalidTable(format!(
                "backend `{}` has url `{}`, expected http://host:port: {why}",
                backend.id, backend.url
            ))
        };
        let uri: http::Uri = backend.url.parse().map_err(|_| wrong("not a URL"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(wrong("the scheme must be http"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("a path or query is not supported"));
        }
        let authority = uri.authority().cloned().ok_or_else(|| wrong("no host"))?;
        let digits = stable_hash(&["backend", &backend.id]);
        Ok(Self {
            id: backend.id.clone(),
            authority,
            hash: u64::from_str_radix(&digits[..16], 16).unwrap_or(0),
            url: backend.url.clone(),
            in_flight: AtomicU64::new(0),
        })
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Counts one request until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }
}

/// One request under way.
#[derive(Debug)]
pub struct InFlight(Arc<BackendState>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Every backend of the present table and the latest ones that left it.
#[derive(Debug, Default)]
pub struct Backends(Mutex<Vec<Arc<BackendState>>>);

impl Backends {
    /// The states of `wanted`: those already known keep their counts.
    ///
    /// Errors: [`Error::InvalidTable`] for a URL that cannot be called.
    pub fn resolve(&self, wanted: &[Backend]) -> Result<Vec<Arc<BackendState>>, Error> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut resolved = Vec::with_capacity(wanted.len());
        for backend in wanted {
            let same = known.iter().position(|k| k.id == backend.id && k.url == backend.url);
            // Moved to the end: the front holds what has been out of use the longest.
            let state = match same {
                Some(index) => known.remove(index),
                None => Arc::new(BackendState::parse(backend)?),
            };
            known.push(Arc::clone(&state));
            resolved.push(state);
        }
        while known.len() > RETIRED_KEPT + wanted.len() {
            // A backend with streams is never forgotten: its drain must stay visible.
            let Some(idle) = known.iter().position(|k| k.in_flight() == 0) else { break };
            if idle + wanted.len() >= known.len() {
                break;
            }
            known.remove(idle);
        }
        Ok(resolved)
    }

    /// Requests under way by backend id.
    pub fn in_flight(&self) -> BTreeMap<String, u64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = BTreeMap::new();
        for state in known.iter() {
            // The same id may have had another URL before: both still count.
            *counts.entry(state.id.clone()).or_insert(0) += state.in_flight();
        }
        counts
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
mod tests {
    use super::*;

    fn backend(id: &str, url: &str) -> Backend {
        Backend { id: id.to_owned(), url: url.to_owned() }
    }

    #[test]
    fn a_backend_out_of_the_table_is_still_counted() {
        let backends = Backends::default();
        let old = backends.resolve(&[backend("a", "http://127.0.0.1:1")]).unwrap();
        let stream = old[0].enter();
        backends.resolve(&[backend("b", "http://127.0.0.1:2")]).unwrap();
        assert_eq!(backends.in_flight()["a"], 1);
        drop(stream);
        assert_eq!(backends.in_flight()["a"], 0);
    }

    #[test]
    fn old_idle_backends_are_forgotten_and_busy_ones_are_not() {
        let backends = Backends::default();
        let busy = backends.resolve(&[backend("busy", "http://127.0.0.1:1")]).unwrap();
        let _stream = busy[0].enter();
        for i in 0..400 {
            backends.resolve(&[backend(&format!("b{i}"), "http://127.0.0.1:2")]).unwrap();
        }
        let known = backends.in_flight();
        assert!(known.contains_key("busy") && known.contains_key("b399"));
        assert!(!known.contains_key("b0") && known.len() <= RETIRED_KEPT + 2);
    }

    #[test]
    fn only_plain_http_roots_are_backends() {
        for url in ["https://a:1", "a:1", "http://a:1/v1", "http://a:1?x=1", "nonsense"] {
            let refused = Backends::default().resolve(&[backend("a", url)]);
            assert!(matches!(refused, Err(Error::InvalidTable(_))), "{url}");
        }
        assert!(Backends::default().resolve(&[backend("a", "http://a:1/")]).is_ok());
    }
}
