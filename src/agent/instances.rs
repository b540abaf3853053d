//! Servers that an edge has read by itself: nobody declared them, so they can be looked at and advised, not changed.

use std::collections::BTreeMap;

use super::{Agent, DeploymentConfig, Error};
use crate::base::Millis;
use crate::domain::{
    Deployment, Diagnosis, EngineKind, Limits, Objective, Observation, Proposal, ServingConfig,
};
use crate::serving::exposition::Exposition;
use crate::serving::{self, ObserveContext, Page};
use crate::tools;
use crate::tuning::{self, SearchBudget, SearchRequest, SearchResult};

/// A metrics page as it was read.
#[derive(Debug, Clone)]
pub struct Scrape {
    /// When.
    pub at: Millis,
    /// Prometheus text.
    pub text: String,
}

/// One line of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Series.
    pub name: String,
    /// `counter`, `gauge` …; `None`: the page does not say.
    pub kind: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value; may be NaN or infinite.
    pub value: f64,
}

/// What pages of a server say.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Between the first and the last page.
    pub recent: Observation,
    /// Since the server's start, over one second: a rate is a total.
    pub total: Observation,
    /// The last page, line by line.
    pub samples: Vec<Sample>,
}

impl Agent {
    /// Where declared deployments of real servers are reached: name and URL.
    pub fn endpoints(&self) -> Vec<(String, String)> {
        let mut endpoints = Vec::new();
        for deployment in &self.settings().config.deployments {
            match deployment {
                DeploymentConfig::External(external) => {
                    let of = |url: &String| (external.name.clone(), url.clone());
                    endpoints.extend(external.endpoints.iter().map(of));
                }
                DeploymentConfig::Process(process) => {
                    endpoints.push((process.name.clone(), format!("http://{}", process.listen)));
                }
                DeploymentConfig::Simulated { .. } => {}
            }
        }
        endpoints
    }

    /// Reads pages of one server, oldest first.
    ///
    /// Errors: pages of another engine, or none.
    pub fn read_pages(
        &self,
        engine: EngineKind,
        instance: &str,
        scrapes: Vec<Scrape>,
    ) -> Result<Sighting, Error> {
        let cx =
            ObserveContext { deployment: instance.to_owned(), config: ServingConfig::default() };
        let page = |scrape: Scrape| Page {
            at: scrape.at,
            backend: instance.to_owned(),
            text: scrape.text.into(),
        };
        let pages: Vec<Page> = scrapes.into_iter().map(page).collect();
        let recent = serving::dialect(engine).observe(&pages, &cx)?;
        let missing = serving::Error::NotEnoughHistory { needed_s: 0.0, have_s: 0.0 };
        let last = pages.last().ok_or(missing)?;
        let total = serving::since_start(engine, last, &cx)?;
        Ok(Sighting { recent, total, samples: samples(&last.text) })
    }

    /// What is known of a server that nobody declared: its engine, and the config that its pages tell.
    pub fn undeclared(&self, instance: &str, seen: &Observation) -> Deployment {
        Deployment {
            name: instance.to_owned(),
            engine: seen.engine,
            served_model: instance.to_owned(),
            model: None,
            gpu: None,
            gpus: 1,
            replicas: 1,
            config: seen.config.clone(),
            limits: Limits::default(),
        }
    }

    /// The likeliest bottleneck in what was seen.
    pub fn diagnose(
        &self,
        seen: &Observation,
        objective: &Objective,
        deployment: &Deployment,
    ) -> Diagnosis {
        tuning::diagnose(seen, None, objective, deployment)
    }

    /// What the rules would try against a bottleneck: nothing is simulated.
    pub fn propose(
        &self,
        diagnosis: &Diagnosis,
        deployment: &Deployment,
        seen: &Observation,
    ) -> Vec<Proposal> {
        tuning::propose_by_rules(diagnosis, deployment, seen)
    }

    /// Searches for better configs of a deployment as it was seen.
    ///
    /// Errors: what was seen cannot be simulated.
    pub async fn search(
        &self,
        deployment: Deployment,
        observation: Observation,
        objective: Objective,
        diagnosis: Diagnosis,
        allow_quality_change: bool,
    ) -> Result<SearchResult, Error> {
        let request = SearchRequest {
            deployment,
            observation,
            objective,
            diagnosis,
            seed: self.settings().seed,
            budget: SearchBudget::default(),
            allow_quality_change,
            knobs: Vec::new(),
        };
        // Minutes of pure arithmetic: off the async threads.
        let found = tokio::task::spawn_blocking(move || tuning::search(&request)).await;
        let found = found.map_err(|error| tools::Error::Interrupted(error.to_string()))?;
        Ok(found.map_err(tools::Error::from)?)
    }
}

fn samples(text: &str) -> Vec<Sample> {
    let page = Exposition::parse(text);
    let kinds: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.trim().split_once(' '))
        .collect();
    let own = |sample: &serving::exposition::Sample<'_>| {
        let names: Vec<&str> = sample.labels.iter().map(|(name, _)| name).collect();
        let value = |name: &str| sample.labels.value(name).unwrap_or_default().into_owned();
        Sample {
            name: sample.name.to_owned(),
            kind: kind(&kinds, sample.name).map(str::to_owned),
            labels: names.into_iter().map(|name| (name.to_owned(), value(name))).collect(),
            value: sample.value,
        }
    };
    page.samples().iter().map(own).collect()
}

/// What a page declares a series to be; parts of a histogram are declared under the name without their ending.
fn kind<'a>(kinds: &BTreeMap<&str, &'a str>, name: &str) -> Option<&'a str> {
    let endings = ["", "_bucket", "_sum", "_count", "_total"];
    let family = |ending: &&str| kinds.get(name.strip_suffix(*ending)?).copied();
    endings.iter().find_map(family)
}
