//! Keys, limits, the audit log, TLS: by requests over HTTP.

mod audit;
mod cors;
mod idempotency;
mod keys;
mod limits;
mod patience;
mod standing;
mod tls;
