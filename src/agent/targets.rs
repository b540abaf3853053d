//! From the config file to targets, and to the clock they live by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::up::Host;
use super::{DeploymentConfig, Error, ExternalDeployment, ProcessDeployment, Settings};
use crate::base::{Clock, SystemClock};
use crate::domain::{Backend, Deployment, GpuSpec, ModelSpec};
use crate::serving::process::{ProcessLauncher, ProcessOptions};
use crate::serving::simulated::{World, WorldSpec};
use crate::serving::{Backends, EmbeddedProxy, GpuProbe, Launcher, Reach, Scraped, Target, gpu};
use crate::sim;
use crate::tools::TrialMode;

/// Deployments by name, and the clock.
pub(super) struct Fleet {
    pub(super) targets: BTreeMap<String, Target>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) simulated: bool,
    /// What can be brought up and down on this host.
    pub(super) hosts: Vec<Host>,
}

/// Builds what the config file declares. `scope` names the simulated world: a thread's own, or a server's.
pub(super) async fn fleet(settings: &Settings, scope: &str) -> Result<Fleet, Error> {
    match settings.config.deployments.as_slice() {
        [] => simulated(settings, WorldSpec::default(), scope),
        [DeploymentConfig::Simulated { world }] => simulated(settings, (**world).clone(), scope),
        many => {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let no_spare = settings.config.trial.mode == TrialMode::StartOnly;
            let (mut targets, mut hosts) = (BTreeMap::new(), Vec::new());
            for deployment in many.iter().filter(|_| !settings.records_only) {
                let target = match deployment {
                    DeploymentConfig::Process(process) => {
                        let (target, host) = started(process, no_spare, &clock).await?;
                        hosts.push(host);
                        target
                    }
                    DeploymentConfig::External(external) => watched(external, &clock, None)?,
                    // `ConfigFile::check` refuses a simulated one beside others.
                    DeploymentConfig::Simulated { .. } => continue,
                };
                targets.insert(target.deployment.name.clone(), target);
            }
            Ok(Fleet { targets, clock, simulated: false, hosts })
        }
    }
}

fn simulated(settings: &Settings, mut spec: WorldSpec, scope: &str) -> Result<Fleet, Error> {
    spec.seed.get_or_insert(settings.seed);
    let journal =
        settings.store_path().map(|path| worlds_folder(&path).join(format!("{scope}.jsonl")));
    // Whoever only looks at records makes no world.
    let journal = journal.filter(|path| !settings.records_only || path.exists());
    let world = World::open(spec, journal)?;
    let target = world.target();
    let targets = BTreeMap::from([(target.deployment.name.clone(), target)]);
    Ok(Fleet { targets, clock: world.clock(), simulated: true, hosts: Vec::new() })
}

/// Journals of simulated worlds lie beside the store.
fn worlds_folder(store: &Path) -> PathBuf {
    let mut folder = store.as_os_str().to_owned();
    folder.push(".worlds");
    PathBuf::from(folder)
}

async fn started(
    config: &ProcessDeployment,
    no_spare: bool,
    clock: &Arc<dyn Clock>,
) -> Result<(Target, Host), Error> {
    let config = &config.expanded(&|name| std::env::var(name).ok())?;
    let launcher = Arc::new(ProcessLauncher::open(options(config, no_spare), clock.clone()).await?);
    let proxy = EmbeddedProxy::connect(super::data_plane::socket(&config.state_dir));
    let host = Host::new(config.clone(), launcher.clone(), proxy.clone(), clock.clone());
    let deployment = Deployment {
        name: config.name.clone(),
        engine: config.engine,
        served_model: config.served_model.clone(),
        model: model(config.model.as_deref())?,
        gpu: device(config.gpu.as_deref())?,
        gpus: config.gpus,
        replicas: 1,
        config: config.config.clone(),
        limits: config.limits,
    };
    let launcher: Arc<dyn Launcher> = launcher;
    let traffic: Arc<dyn crate::serving::TrafficPlane> = Arc::new(proxy);
    let backends = Backends::Launched(launcher.clone());
    let observe = Scraped::start(
        &deployment,
        backends,
        Default::default(),
        clock.clone(),
        Some(traffic.clone()),
        None,
    )?;
    let load =
        super::load::Driver { served_model: config.served_model.clone(), clock: clock.clone() };
    let target = Target {
        deployment,
        observe,
        launcher: Some(launcher),
        traffic: Some(traffic),
        load: Some(Arc::new(load)),
        gpus: gpus(),
    };
    Ok((target, host))
}

fn options(config: &ProcessDeployment, trials_yield: bool) -> ProcessOptions {
    ProcessOptions {
        trials_yield,
        args: config.args.clone(),
        env: config.env.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        ports: config.ports.0..=config.ports.1,
        start_timeout_s: config.start_timeout_s as f64,
        ..ProcessOptions::new(
            &config.name,
            config.engine,
            &config.served_model,
            &config.program,
            config.state_dir.join("servers"),
        )
    }
}

/// A server that somebody else runs; `reach`: it was named by a caller, so each look at it passes that guard.
///
/// Errors: [`Error::NotInCatalogue`].
pub(super) fn watched(
    config: &ExternalDeployment,
    clock: &Arc<dyn Clock>,
    reach: Option<Arc<dyn Reach>>,
) -> Result<Target, Error> {
    let deployment = Deployment {
        name: config.name.clone(),
        engine: config.engine,
        served_model: config.served_model.clone(),
        model: model(config.model.as_deref())?,
        gpu: device(config.gpu.as_deref())?,
        gpus: config.gpus,
        replicas: config.endpoints.len() as u32,
        config: config.config.clone(),
        limits: config.limits,
    };
    let backend = |(index, url): (usize, &String)| Backend {
        id: format!("{}-{index}", config.name),
        url: url.clone(),
    };
    let all = config.endpoints.iter().enumerate().map(backend).collect();
    let backends = match reach {
        Some(reach) => Backends::Guarded(all, reach),
        None => Backends::Fixed(all),
    };
    let observe =
        Scraped::start(&deployment, backends, Default::default(), clock.clone(), None, None)?;
    Ok(Target { deployment, observe, launcher: None, traffic: None, load: None, gpus: gpus() })
}

/// This host's GPUs; none is a fact, not an error.
fn gpus() -> Arc<dyn GpuProbe> {
    gpu::probe().unwrap_or_else(|error| {
        tracing::debug!(%error, "no GPU counters here");
        Arc::new(gpu::NoGpus)
    })
}

fn model(name: Option<&str>) -> Result<Option<ModelSpec>, Error> {
    let known = || sim::models().iter().map(|m| m.name.clone()).collect::<Vec<_>>().join(", ");
    name.map(|name| {
        sim::model(name).ok_or_else(|| Error::NotInCatalogue {
            kind: "model",
            name: name.to_owned(),
            known: known(),
        })
    })
    .transpose()
}

fn device(name: Option<&str>) -> Result<Option<GpuSpec>, Error> {
    let known = || sim::gpus().iter().map(|g| g.name.clone()).collect::<Vec<_>>().join(", ");
    name.map(|name| {
        cores(name).or_else(|| sim::gpu(name)).ok_or_else(|| Error::NotInCatalogue {
            kind: "GPU",
            name: name.to_owned(),
            known: known(),
        })
    })
    .transpose()
}

/// `cpu-2` is two cores of a CPU. Nothing simulates cores; the peaks are nominal (one AVX2 core at 2 GHz: 64 GFLOP/s,
/// 10 GB/s) and the memory is this host's.
fn cores(name: &str) -> Option<GpuSpec> {
    let count: u32 = name.to_lowercase().strip_prefix("cpu-")?.parse().ok()?;
    let count = f64::from(count);
    let read = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = read.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = total.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(GpuSpec {
        name: name.to_owned(),
        peak_flops: 64e9 * count,
        peak_flops_fp8: 64e9 * count,
        memory_bytes_per_s: 10e9 * count,
        memory_bytes: kib * 1024.0,
        link_bytes_per_s: 10e9 * count,
    })
}
