//! What tools that look at one config are told.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::ServingConfig;

/// Which config for which deployment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// Name of the deployment.
    pub(super) deployment: String,
    /// The whole config.
    pub(super) config: ServingConfig,
}
