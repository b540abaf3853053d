//! The simulated engine as its own process.

use std::future::Future;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{ConfigFile, DeploymentConfig, Error};
use crate::serving::simulated::{self, WorldSpec};

/// A simulated engine that listens.
#[derive(Debug, Clone)]
pub struct SimulationSettings {
    /// Where clients connect; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Simulated seconds per second.
    pub speed: f64,
    /// Seed of the answers' lengths and of the truth's coefficients, unless the world names its own.
    pub seed: u64,
    /// The world is its simulated deployment; without deployments, the default one.
    pub config: ConfigFile,
}

/// Runs a simulated engine in this process until `shutdown`. Once it listens, `announce` learns where, and the name of
/// the served model.
///
/// Errors: [`Error::Config`] when the config file has only real deployments; [`Error::Io`] when the address is taken;
/// [`Error::Serving`] when the world's config cannot run.
pub async fn run_simulation(
    settings: SimulationSettings,
    announce: impl FnOnce(SocketAddr, &str),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut world = world(&settings.config)?;
    world.seed.get_or_insert(settings.seed);
    let taken = |source| Error::Io { what: format!("listening on {}", settings.listen), source };
    let listener = TcpListener::bind(settings.listen).await.map_err(taken)?;
    let (address, model) = (listener.local_addr().map_err(taken)?, world.model.clone());
    let serving = simulated::serve(world, listener, settings.speed, shutdown);
    tokio::pin!(serving);
    // A world that cannot run says so before its server first waits: nothing is announced then.
    tokio::select! {
        biased;
        ended = &mut serving => return Ok(ended?),
        () = std::future::ready(()) => announce(address, &model),
    }
    Ok(serving.await?)
}

fn world(config: &ConfigFile) -> Result<WorldSpec, Error> {
    let worlds = config.deployments.iter().find_map(|deployment| match deployment {
        DeploymentConfig::Simulated { world } => Some((**world).clone()),
        _ => None,
    });
    match worlds {
        Some(world) => Ok(world),
        None if config.deployments.is_empty() => Ok(WorldSpec::default()),
        None => Err(Error::Config {
            file: "--config".to_owned(),
            detail: "none of its deployments has `launcher: simulated`".to_owned(),
        }),
    }
}
