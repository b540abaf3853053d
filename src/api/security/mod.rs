//! Who may do what: keys with scopes, how often, what is written down of it, whom the server itself may call.

mod admit;
mod audit;
mod bucket;
mod caller;
mod calls;
mod consent;
mod describe;
mod idempotency;
mod keys;
mod options;
mod outbound;
mod routes;
mod scope;
mod state;
mod tls;

pub(super) use admit::admit;
pub(super) use audit::Audit;
pub use audit::{AuditEntry, CallOutcome, Who};
pub(super) use caller::{Caller, Peer};
pub(super) use calls::Written;
pub(super) use consent::lifts;
pub(super) use describe::describe;
pub(super) use idempotency::forget_old;
pub use keys::{Key, Keys, NewKey};
pub use options::{Limits, SecurityOptions};
pub use outbound::{Outbound, Resolve};
pub(super) use outbound::{Refused, Trust, origin_of, web_url};
pub use scope::Scope;
pub(super) use state::Security;
pub use tls::TlsFiles;
pub(super) use tls::acceptor;
