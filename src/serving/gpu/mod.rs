//! GPUs: through the driver on this host, or through a dcgm-exporter elsewhere.

mod dcgm;
mod nvml;
mod throttle;

use std::sync::Arc;

use async_trait::async_trait;

use super::{Error, GpuProbe};
use crate::domain::GpuReading;

pub use dcgm::{DcgmProbe, readings};
pub use nvml::NvmlProbe;

/// The GPUs of this host.
///
/// Errors: [`Error::NoGpuDriver`] when there is no NVIDIA driver; [`Error::GpuFailed`] when it does not start.
pub fn probe() -> Result<Arc<dyn GpuProbe>, Error> {
    Ok(Arc::new(NvmlProbe::load(None)?))
}

/// There are none, or none that can be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoGpus;

#[async_trait]
impl GpuProbe for NoGpus {
    async fn read(&self) -> Result<Vec<GpuReading>, Error> {
        Ok(Vec::new())
    }
}
