//! The devices of a world, as far as its model knows them: what it does not know is `None`.

use std::sync::Arc;

use async_trait::async_trait;

use super::World;
use super::server::Server;
use crate::domain::{GpuReading, GpuSpec};
use crate::serving::{Error, GpuProbe};

/// A world's devices.
pub(super) struct WorldGpus(pub(super) Arc<World>);

#[async_trait]
impl GpuProbe for WorldGpus {
    async fn read(&self) -> Result<Vec<GpuReading>, Error> {
        let state = self.0.lock();
        let fleet = &state.fleet;
        let Some(spec) = crate::sim::gpu(&fleet.spec.gpu) else { return Ok(Vec::new()) };
        let holder = |gpu: u32| {
            fleet.servers.iter().find(|server| server.is_there() && server.gpus.contains(&gpu))
        };
        Ok((0..fleet.spec.gpus).map(|gpu| reading(gpu, &spec, holder(gpu), fleet.now_s)).collect())
    }
}

fn reading(index: u32, spec: &GpuSpec, server: Option<&Server>, now_s: f64) -> GpuReading {
    let live = server.filter(|server| !server.is_dead());
    // vLLM takes its share of memory at the start, whatever it holds there later.
    let ratio = live.map_or(0.0, |server| server.replica.spec().config.gpu_memory_utilization);
    let throttled = live.is_some_and(|server| server.fate.throttled(now_s));
    GpuReading {
        index,
        name: spec.name.clone(),
        gpu_utilization: match live {
            Some(server) => server.history.busy_ratio(),
            None => Some(0.0),
        },
        memory_utilization: None,
        memory_used_bytes: Some(ratio * spec.memory_bytes),
        memory_total_bytes: Some(spec.memory_bytes),
        power_w: None,
        power_limit_w: None,
        sm_clock_mhz: None,
        sm_clock_max_mhz: None,
        temperature_c: None,
        throttle_reasons: if throttled { vec!["hw_thermal_slowdown".to_owned()] } else { vec![] },
        ecc_uncorrected: None,
    }
}
