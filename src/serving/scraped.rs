//! Observes real servers: scrapes their pages on a clock, keeps a window, and reads it through the engine's dialect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::AbortHandle;

use super::client_tap::ClientTap;
use super::http::{get_text, http_client};
use super::{
    Dialect, Error, GpuProbe, Launcher, Observe, ObserveContext, Page, PageHistory, Purpose, Reach,
    TrafficPlane, dialect,
};
use crate::base::{Clock, Coded, Millis};
use crate::domain::{
    Backend, Deployment, GpuReading, Limits, Metric, Objective, Observation, ServingConfig,
    Statistic, Target,
};

/// Scrapes without any answer after which a wait for a full window is pointless.
const SILENT_SCRAPES_MAX: u64 = 3;

/// How servers are scraped.
#[derive(Debug, Clone)]
pub struct ScrapeOptions {
    /// From one scrape to the next [s].
    pub interval_s: f64,
    /// Longest wait for one page [s].
    pub timeout_s: f64,
    /// Pages kept for each backend.
    pub pages_max: usize,
    /// Path of the page.
    pub path: String,
}

impl Default for ScrapeOptions {
    /// Every 5 s for half an hour: about 18 MB for each vLLM backend.
    fn default() -> Self {
        Self { interval_s: 5.0, timeout_s: 3.0, pages_max: 360, path: "/metrics".to_owned() }
    }
}

/// Which servers belong to the deployment.
#[derive(Clone)]
pub enum Backends {
    /// Always these; all of them are stable.
    Fixed(Vec<Backend>),
    /// The same, of addresses that a caller gave: every scrape is guarded, and what a server says of a failure is not repeated.
    Guarded(Vec<Backend>, Arc<dyn Reach>),
    /// Those that a launcher started; stable are those it says.
    Launched(Arc<dyn Launcher>),
}

/// Scrapes one deployment in the background, from [`Scraped::start`] until the last handle is dropped.
pub struct Scraped {
    name: String,
    config: ServingConfig,
    backends: Backends,
    dialect: &'static dyn Dialect,
    options: ScrapeOptions,
    clock: Arc<dyn Clock>,
    client: reqwest::Client,
    history: Arc<PageHistory>,
    /// Why a backend's newest scrape failed; cleared by the next that works.
    failures: Mutex<BTreeMap<String, Error>>,
    tap: Option<ClientTap>,
    limits: Option<Objective>,
    gpus: Option<Arc<dyn GpuProbe>>,
    sampler: Mutex<Option<AbortHandle>>,
}

impl Scraped {
    /// Starts to scrape. `traffic` adds what clients saw, `gpus` the devices. Needs a running Tokio runtime.
    ///
    /// Errors: [`Error::Unreachable`] when no HTTP client can be built.
    pub fn start(
        deployment: &Deployment,
        backends: Backends,
        options: ScrapeOptions,
        clock: Arc<dyn Clock>,
        traffic: Option<Arc<dyn TrafficPlane>>,
        gpus: Option<Arc<dyn GpuProbe>>,
    ) -> Result<Arc<Self>, Error> {
        let keep_ms = options.interval_s * options.pages_max as f64 * 1000.0;
        let tap = |plane| ClientTap::new(plane, keep_ms as u64);
        let scraped = Arc::new(Self {
            name: deployment.name.clone(),
            config: deployment.config.clone(),
            backends,
            dialect: dialect(deployment.engine),
            client: http_client(Duration::from_secs_f64(options.timeout_s.max(0.001)))?,
            history: Arc::new(PageHistory::new(options.pages_max)),
            options,
            clock,
            failures: Mutex::default(),
            tap: traffic.map(tap),
            limits: limits(deployment),
            gpus,
            sampler: Mutex::default(),
        });
        let (weak, clock) = (Arc::downgrade(&scraped), scraped.clock.clone());
        let interval_ms = scraped.interval_ms();
        let sampler = tokio::spawn(async move {
            // Holds no handle while it waits, so dropping the last one ends the sampler.
            while let Some(scraped) = weak.upgrade() {
                let next = clock.now().plus(interval_ms);
                scraped.scrape().await;
                drop(scraped);
                clock.sleep_until(next).await;
            }
        });
        *lock(&scraped.sampler) = Some(sampler.abort_handle());
        Ok(scraped)
    }

    /// The pages so far.
    pub fn history(&self) -> &Arc<PageHistory> {
        &self.history
    }

    /// One round: every backend's page and the newest client records. A failure is remembered, never fatal.
    async fn scrape(&self) {
        let now = self.clock.now();
        match self.all_backends().await {
            Ok(backends) => {
                let round = backends.iter().map(|(backend, _)| self.scrape_one(now, backend));
                futures::future::join_all(round).await;
            }
            Err(error) => tracing::warn!(deployment = %self.name, %error, "no list of backends"),
        }
        if let Some(tap) = &self.tap {
            tap.collect(self.clock.now()).await;
        }
    }

    async fn scrape_one(&self, at: Millis, backend: &Backend) {
        let url = format!("{}{}", backend.url.trim_end_matches('/'), self.options.path);
        match self.page(&url).await {
            Ok(text) => {
                self.history.push(Page { at, backend: backend.id.clone(), text: text.into() });
                lock(&self.failures).remove(&backend.id);
            }
            Err(error) => {
                tracing::debug!(backend = %backend.id, code = error.code(), %error, "no page");
                lock(&self.failures).insert(backend.id.clone(), error);
            }
        }
    }

    async fn page(&self, url: &str) -> Result<String, Error> {
        let Backends::Guarded(_, reach) = &self.backends else {
            return get_text(&self.client, url).await;
        };
        let client = reach.reach(url, self.timeout()).await;
        let refused = |detail| Error::Unreachable { endpoint: url.to_owned(), detail };
        get_text(&client.map_err(refused)?, url).await.map_err(|error| match error {
            Error::BadAnswer { endpoint, status, .. } => {
                let detail = "its words are not repeated".to_owned();
                Error::BadAnswer { endpoint, status, detail }
            }
            error => error,
        })
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.options.timeout_s.max(0.001))
    }

    /// Every backend and whether it is stable, with the config the launcher knows for the stable ones.
    async fn all_backends(&self) -> Result<Vec<(Backend, Option<ServingConfig>)>, Error> {
        match &self.backends {
            Backends::Fixed(backends) | Backends::Guarded(backends, _) => {
                let stable = |b: &Backend| (b.clone(), Some(self.config.clone()));
                Ok(backends.iter().map(stable).collect())
            }
            Backends::Launched(launcher) => {
                let running = launcher.running().await?.into_iter();
                let config =
                    |r: &super::Running| (r.purpose == Purpose::Stable).then(|| r.config.clone());
                Ok(running.map(|running| (running.backend.clone(), config(&running))).collect())
            }
        }
    }

    fn interval_ms(&self) -> u64 {
        ((self.options.interval_s * 1000.0) as u64).max(1)
    }

    /// The stable backends' pages of the last `window_s`, and the config they run.
    async fn stable_pages(&self, window_s: f64) -> Result<(Vec<Page>, ObserveContext), Error> {
        let stable: Vec<_> = self
            .all_backends()
            .await?
            .into_iter()
            .filter_map(|(backend, config)| Some((backend.id, config?)))
            .collect();
        let mut pages = self.history.window(self.clock.now(), window_s);
        pages.retain(|page| stable.iter().any(|(id, _)| *id == page.backend));
        let config = stable.into_iter().next().map_or_else(|| self.config.clone(), |(_, c)| c);
        Ok((pages, ObserveContext { deployment: self.name.clone(), config }))
    }

    /// Waits until the stable pages cover the window, but not much longer than the window.
    async fn filled(&self, window_s: f64) -> Result<(Vec<Page>, ObserveContext), Error> {
        let interval_ms = self.interval_ms();
        let patience_ms = (window_s * 1000.0) as u64 + 2 * interval_ms;
        let deadline = self.clock.now().plus(patience_ms);
        let silent_until = self.clock.now().plus(SILENT_SCRAPES_MAX * interval_ms);
        loop {
            let (pages, cx) = self.stable_pages(window_s).await?;
            if let Some(newest) = pages.last() {
                // The wrong engine will not become the right one: say so before the wait, not after it.
                self.dialect.observe(std::slice::from_ref(newest), &cx)?;
            }
            // Who has never answered and refuses now will not fill a window: say so before the wait, not after it.
            if pages.is_empty() && self.clock.now() >= silent_until && self.is_refused() {
                return Ok((pages, cx));
            }
            // The oldest page inside lies up to one interval after the window's start.
            if covered_s(&pages) * 1000.0 >= window_s * 1000.0 - interval_ms as f64
                && pages.len() > 1
                || self.clock.now() >= deadline
            {
                return Ok((pages, cx));
            }
            self.clock.sleep_ms(interval_ms.min(1000)).await;
        }
    }

    /// Refuses a window that ended long ago or is too thin to take a difference.
    fn fresh(&self, pages: &[Page], window_s: f64) -> Result<(), Error> {
        let newest = pages.iter().map(|page| page.at).max();
        let silent_ms = newest.map(|newest| self.clock.now().since(newest));
        if silent_ms.is_none_or(|silent_ms| silent_ms > 3 * self.interval_ms()) {
            return Err(self.silence());
        }
        if covered_s(pages) > 0.0 {
            return Ok(());
        }
        Err(Error::NotEnoughHistory { needed_s: window_s, have_s: 0.0 })
    }

    fn is_refused(&self) -> bool {
        !lock(&self.failures).is_empty()
    }

    /// Why no page came.
    fn silence(&self) -> Error {
        let first = lock(&self.failures).pop_first();
        first.map_or_else(
            || Error::Unreachable {
                endpoint: self.name.clone(),
                detail: "no stable backend answered a scrape".to_owned(),
            },
            |(_, error)| error,
        )
    }

    async fn read_gpus(&self) -> Vec<GpuReading> {
        let Some(probe) = &self.gpus else { return Vec::new() };
        probe.read().await.unwrap_or_else(|error| {
            tracing::warn!(deployment = %self.name, %error, "the GPUs stay unknown");
            Vec::new()
        })
    }
}

#[async_trait]
impl Observe for Scraped {
    async fn observe(
        &self,
        window_s: f64,
        objective: Option<&Objective>,
    ) -> Result<Observation, Error> {
        let (pages, cx) = self.filled(window_s).await?;
        self.fresh(&pages, window_s)?;
        let mut seen = self.dialect.observe(&pages, &cx)?;
        if let Some(tap) = &self.tap {
            tap.collect(self.clock.now()).await;
            let counted_by = objective.or(self.limits.as_ref());
            seen.client = tap.stats(self.clock.now(), window_s, counted_by);
        }
        seen.gpus = self.read_gpus().await;
        Ok(seen)
    }

    async fn series(&self, window_s: f64, step_s: f64) -> Result<Vec<Observation>, Error> {
        let (now, step_ms) = (self.clock.now(), ((step_s * 1000.0) as u64).max(1));
        let (pages, cx) = self.stable_pages(window_s).await?;
        let mut windows = Vec::new();
        for step in (0..(window_s * 1000.0) as u64 / step_ms).rev() {
            let to = Millis(now.0.saturating_sub(step * step_ms));
            let from = Millis(to.0.saturating_sub(step_ms));
            let inside = pages.iter().filter(|page| page.at >= from && page.at <= to);
            let inside: Vec<Page> = inside.cloned().collect();
            if covered_s(&inside) > 0.0 {
                windows.push(self.dialect.observe(&inside, &cx)?);
            }
        }
        Ok(windows)
    }
}

impl Drop for Scraped {
    fn drop(&mut self) {
        if let Some(sampler) = lock(&self.sampler).take() {
            sampler.abort();
        }
    }
}

fn covered_s(pages: &[Page]) -> f64 {
    let times = || pages.iter().map(|page| page.at);
    match (times().min(), times().max()) {
        (Some(first), Some(last)) => last.since(first) as f64 / 1000.0,
        _ => 0.0,
    }
}

/// The standing limits as bounds for one request: what goodput counts where no goal was named.
fn limits(deployment: &Deployment) -> Option<Objective> {
    let Limits { ttft_p95_ms, tpot_p95_ms, e2e_p95_ms } = deployment.limits;
    let bounds =
        [(Metric::Ttft, ttft_p95_ms), (Metric::Tpot, tpot_p95_ms), (Metric::E2e, e2e_p95_ms)];
    let target = |(metric, max_ms): (Metric, Option<f64>)| {
        Some(Target { metric, statistic: Statistic::P95, max_ms: max_ms? })
    };
    let targets: Vec<_> = bounds.into_iter().filter_map(target).collect();
    (!targets.is_empty()).then(|| Objective {
        deployment: deployment.name.clone(),
        targets,
        keep: Vec::new(),
        improve: None,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
