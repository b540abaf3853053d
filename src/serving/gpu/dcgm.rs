//! GPUs of another host through the page of its dcgm-exporter.
//!
//! Source: DCGM `dcgm_fields.h` (fields, units, blanks), dcgm-exporter `etc/default-counters.csv`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::throttle::throttle_reasons;
use crate::domain::GpuReading;
use crate::serving::exposition::{Exposition, Sample};
use crate::serving::http::{get_text, http_client};
use crate::serving::{Error, GpuProbe};

/// Reads the page of one dcgm-exporter.
pub struct DcgmProbe {
    url: String,
    client: reqwest::Client,
}

impl DcgmProbe {
    /// A probe of the page at `url`, for example `http://gpu-node:9400/metrics`.
    ///
    /// Errors: [`Error::Unreachable`] when no HTTP client can be built.
    pub fn new(url: impl Into<String>, timeout: Duration) -> Result<Self, Error> {
        Ok(Self { url: url.into(), client: http_client(timeout)? })
    }
}

#[async_trait]
impl GpuProbe for DcgmProbe {
    async fn read(&self) -> Result<Vec<GpuReading>, Error> {
        let text = get_text(&self.client, &self.url).await?;
        let page = Exposition::parse(&text);
        if !page.samples().iter().any(|sample| sample.name.starts_with("DCGM_FI_")) {
            return Err(Error::WrongEngine {
                endpoint: self.url.clone(),
                expected: "dcgm-exporter".to_owned(),
                detail: "none of its series starts with `DCGM_FI_`".to_owned(),
            });
        }
        Ok(readings(&page))
    }
}

/// The GPUs on a dcgm-exporter's page, by index. Parts of a GPU (MIG instances) are left out: their shares are not the
/// device's.
pub fn readings(page: &Exposition<'_>) -> Vec<GpuReading> {
    let mut gpus: BTreeMap<u32, GpuFields<'_>> = BTreeMap::new();
    for sample in page.samples() {
        if !sample.name.starts_with("DCGM_FI_") || is_part(sample) {
            continue;
        }
        let index = sample.labels.value("gpu").and_then(|gpu| gpu.parse().ok());
        if let Some(index) = index {
            let gpu = gpus.entry(index).or_default();
            gpu.name = gpu.name.take().or_else(|| sample.labels.value("modelName"));
            gpu.fields.entry(sample.name).or_insert(sample.value);
        }
    }
    gpus.into_iter().map(|(index, gpu)| gpu.reading(index)).collect()
}

fn is_part(sample: &Sample<'_>) -> bool {
    sample.labels.value("GPU_I_ID").is_some_and(|id| !id.is_empty())
}

#[derive(Default)]
struct GpuFields<'a> {
    name: Option<std::borrow::Cow<'a, str>>,
    fields: BTreeMap<&'a str, f64>,
}

impl GpuFields<'_> {
    /// The first of `names` that the page has and that is not blank.
    fn field(&self, names: &[&str]) -> Option<f64> {
        let field = |name: &&str| self.fields.get(*name).copied().filter(|value| !is_blank(*value));
        names.iter().find_map(field)
    }

    fn reading(self, index: u32) -> GpuReading {
        let mib = |names| self.field(names).map(|mib| mib * 1024.0 * 1024.0);
        let share = |name, percent| {
            // Profiling fields are ratios already; they average over the exporter's interval.
            self.field(&[name]).or_else(|| self.field(&[percent]).map(|percent| percent / 100.0))
        };
        let (used, free) = (mib(&["DCGM_FI_DEV_FB_USED"]), mib(&["DCGM_FI_DEV_FB_FREE"]));
        let reserved = mib(&["DCGM_FI_DEV_FB_RESERVED"]).unwrap_or(0.0);
        let summed = used.zip(free).map(|(used, free)| used + free + reserved);
        let throttle = ["DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"];
        let max_clock = ["DCGM_FI_DEV_MAX_SM_CLOCK"];
        let power_limit = ["DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_POWER_MGMT_LIMIT"];
        let ecc = self.field(&["DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"]);
        GpuReading {
            index,
            gpu_utilization: share("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_GPU_UTIL"),
            memory_utilization: share("DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_DEV_MEM_COPY_UTIL"),
            memory_used_bytes: used,
            memory_total_bytes: mib(&["DCGM_FI_DEV_FB_TOTAL"]).or(summed),
            power_w: self.field(&["DCGM_FI_DEV_POWER_USAGE"]),
            power_limit_w: self.field(&power_limit),
            sm_clock_mhz: self.field(&["DCGM_FI_DEV_SM_CLOCK"]),
            sm_clock_max_mhz: self.field(&max_clock),
            temperature_c: self.field(&["DCGM_FI_DEV_GPU_TEMP"]),
            throttle_reasons: self
                .field(&throttle)
                .map_or_else(Vec::new, |mask| throttle_reasons(mask as u64)),
            ecc_uncorrected: ecc.map(|errors| errors as u64),
            name: self.name.map_or_else(|| "unknown".to_owned(), std::borrow::Cow::into_owned),
        }
    }
}

/// DCGM writes "no value" as a huge number, one of four in each width: blank, not found, not supported, not permitted.
///
/// Source: `dcgm_fields.h`, `DCGM_INT32_BLANK`, `DCGM_INT64_BLANK`, `DCGM_FP64_BLANK`. As a float all four of the
/// 64-bit ones round to 2^63, far above any reading.
fn is_blank(value: f64) -> bool {
    const INT32: f64 = 2_147_483_632.0;
    const FP64: f64 = 140_737_488_355_328.0;
    let one_of_four = |base: f64| (base..=base + 3.0).contains(&value);
    !value.is_finite() || one_of_four(INT32) || one_of_four(FP64) || value >= 9.2e18
}
