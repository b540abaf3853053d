//! One call on its way through the registry.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::base::EffectKey;

/// Someone's consent to effects on users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consent {
    /// Who: a person's name, or `--yes`.
    pub by: String,
}

/// Remembers calls that were made, so that none is made twice. Implemented over the runtime's effect ledger.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// `Some(result)` when the call was finished before.
    async fn begin(&self, key: &EffectKey, policy: &str) -> Result<Option<Value>, Error>;
    /// Records the result for good.
    async fn finish(&self, key: &EffectKey, result: &Value) -> Result<(), Error>;
}

/// A call that someone wants made.
pub struct Call<'a> {
    /// Tool.
    pub tool: &'a str,
    /// Arguments as they came: not validated.
    pub args: Value,
    /// Stable key of this call.
    pub key: EffectKey,
    /// The run this call belongs to: what its calls share is kept under it.
    pub run: String,
    /// Consents given on this thread.
    pub consents: Vec<Consent>,
    /// The model that drives.
    pub model: String,
    /// The ledger.
    pub ledger: &'a dyn Ledger,
    /// Receives progress.
    pub emit: Arc<dyn Fn(Value) + Send + Sync>,
    /// Set when nobody waits for the call any more: its run was cancelled, or its time is up.
    pub cancel: CancellationToken,
}
