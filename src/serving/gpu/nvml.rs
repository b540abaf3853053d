//! GPUs of this host through NVIDIA's management library, loaded at run time: the program starts without it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::throttle::throttle_reasons;
use crate::domain::GpuReading;
use crate::serving::{Error, GpuProbe};

/// Reads every GPU of this host.
pub struct NvmlProbe {
    nvml: Arc<Nvml>,
}

impl NvmlProbe {
    /// Loads the driver's library: `libnvidia-ml.so.1` as the loader finds it, or the file at `library`.
    ///
    /// Errors: [`Error::NoGpuDriver`] when the library or the driver is missing; [`Error::GpuFailed`] when it is there
    /// and does not start.
    pub fn load(library: Option<&Path>) -> Result<Self, Error> {
        let mut builder = Nvml::builder();
        if let Some(library) = library {
            builder.lib_path(library.as_os_str());
        }
        match builder.init() {
            Ok(nvml) => Ok(Self { nvml: Arc::new(nvml) }),
            Err(
                error @ (NvmlError::LibloadingError(_)
                | NvmlError::DriverNotLoaded
                | NvmlError::LibraryNotFound),
            ) => Err(Error::NoGpuDriver { detail: error.to_string() }),
            Err(error) => Err(failed("starting the driver's library", &error)),
        }
    }
}

#[async_trait]
impl GpuProbe for NvmlProbe {
    async fn read(&self) -> Result<Vec<GpuReading>, Error> {
        let nvml = self.nvml.clone();
        // The driver may take tens of milliseconds: not on a thread that serves others.
        let reading = tokio::task::spawn_blocking(move || read_all(&nvml)).await;
        reading.unwrap_or_else(|error| {
            Err(Error::GpuFailed { what: "the reading".to_owned(), detail: error.to_string() })
        })
    }
}

fn read_all(nvml: &Nvml) -> Result<Vec<GpuReading>, Error> {
    let count = nvml.device_count().map_err(|error| failed("counting the GPUs", &error))?;
    let one = |index| {
        let device = nvml.device_by_index(index);
        let device = device.map_err(|error| failed(&format!("opening GPU {index}"), &error))?;
        read_one(index, &device)
    };
    (0..count).map(one).collect()
}

fn read_one(index: u32, device: &Device<'_>) -> Result<GpuReading, Error> {
    let rates = known(index, "utilization", device.utilization_rates())?;
    let memory = known(index, "memory", device.memory_info())?;
    let clock = |what, reading| Ok::<_, Error>(known(index, what, reading)?.map(f64::from));
    let watt = |what, reading| Ok::<_, Error>(clock(what, reading)?.map(|mw| mw / 1000.0));
    let throttle = known(index, "throttle reasons", device.current_throttle_reasons())?;
    let ecc = device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    Ok(GpuReading {
        index,
        name: known(index, "name", device.name())?.unwrap_or_else(|| "unknown".to_owned()),
        gpu_utilization: rates.as_ref().map(|rates| f64::from(rates.gpu) / 100.0),
        memory_utilization: rates.map(|rates| f64::from(rates.memory) / 100.0),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used as f64),
        memory_total_bytes: memory.map(|memory| memory.total as f64),
        power_w: watt("power", device.power_usage())?,
        power_limit_w: watt("power limit", device.enforced_power_limit())?,
        sm_clock_mhz: clock("SM clock", device.clock_info(Clock::SM))?,
        sm_clock_max_mhz: clock("highest SM clock", device.max_clock_info(Clock::SM))?,
        temperature_c: clock("temperature", device.temperature(TemperatureSensor::Gpu))?,
        throttle_reasons: throttle.map_or_else(Vec::new, |mask| throttle_reasons(mask.bits())),
        ecc_uncorrected: known(index, "ECC errors", ecc)?,
    })
}

/// A figure this GPU, driver or user does not have is unknown; a GPU that stopped answering is an error.
fn known<T>(index: u32, what: &str, reading: Result<T, NvmlError>) -> Result<Option<T>, Error> {
    match reading {
        Ok(value) => Ok(Some(value)),
        Err(
            error @ (NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::Uninitialized
            | NvmlError::LibRmVersionMismatch),
        ) => Err(failed(&format!("{what} of GPU {index}"), &error)),
        Err(error) => {
            tracing::trace!(gpu = index, what, %error, "unknown");
            Ok(None)
        }
    }
}

fn failed(what: &str, error: &NvmlError) -> Error {
    Error::GpuFailed { what: what.to_owned(), detail: error.to_string() }
}
