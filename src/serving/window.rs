//! A window of parsed pages: gauges as distributions, counters and histograms as differences, restarts handled.
//!
//! Series of one name are added up over their labels and over backends, never "the last one wins". What no page
//! says is `None`.

use std::collections::BTreeMap;

use super::exposition::{Exposition, Labels, Sample};
use super::histogram::Histogram;
use super::{Error, Page};
use crate::base::Millis;
use crate::domain::{Distribution, EngineKind};

/// What must be known of an engine to read its pages.
#[derive(Debug)]
pub(super) struct Rules {
    /// Which engine.
    pub(super) kind: EngineKind,
    /// How its names start.
    pub(super) prefix: &'static str,
    /// Counters that only a restart makes smaller.
    pub(super) counters: &'static [&'static str],
    /// Labels that tell copies of one figure apart: every tensor-parallel rank reports the same requests.
    pub(super) copies: &'static [&'static str],
    /// Labels whose filled-in values are parts of the series where the value is empty.
    pub(super) parts: &'static [&'static str],
}

/// How much a counter grew in the window, over all backends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Increase {
    /// By how much.
    pub(super) total: f64,
    /// Per second.
    pub(super) per_s: f64,
}

/// The pages of one window.
pub(super) struct Window<'a> {
    rules: &'static Rules,
    backends: Vec<BackendPages<'a>>,
    first: Millis,
    last: Millis,
}

struct BackendPages<'a> {
    pages: Vec<(Millis, Exposition<'a>)>,
    lives: Vec<Life>,
}

/// An unbroken run of one server process. A later life started from zero.
#[derive(Debug, Clone, Copy)]
struct Life {
    start: Option<usize>,
    end: usize,
}

impl<'a> Window<'a> {
    /// Parses `pages`, oldest first for each backend.
    ///
    /// Errors: [`Error::WrongEngine`] when a page has no series of the engine; [`Error::NotEnoughHistory`] without pages.
    pub(super) fn read(pages: &'a [Page], rules: &'static Rules) -> Result<Self, Error> {
        let mut by_backend: BTreeMap<&str, Vec<(Millis, Exposition<'a>)>> = BTreeMap::new();
        for page in pages {
            let parsed = Exposition::parse(&page.text);
            if !parsed.samples().iter().any(|sample| sample.name.starts_with(rules.prefix)) {
                return Err(wrong_engine(page, &parsed, rules));
            }
            by_backend.entry(&page.backend).or_default().push((page.at, parsed));
        }
        let backends: Vec<_> = by_backend
            .into_values()
            .map(|mut pages| {
                pages.sort_by_key(|(at, _)| *at);
                let lives = lives(&pages, rules);
                BackendPages { pages, lives }
            })
            .collect();
        let times = || pages.iter().map(|page| page.at);
        match (times().min(), times().max()) {
            (Some(first), Some(last)) => Ok(Self { rules, backends, first, last }),
            _ => Err(Error::NotEnoughHistory { needed_s: 0.0, have_s: 0.0 }),
        }
    }

    /// When the newest page was read.
    pub(super) fn at(&self) -> Millis {
        self.last
    }

    /// From the oldest to the newest page [s].
    pub(super) fn length_s(&self) -> f64 {
        seconds(self.first, self.last)
    }

    /// Backends with at least one page.
    pub(super) fn replicas(&self) -> u32 {
        u32::try_from(self.backends.len()).unwrap_or(u32::MAX)
    }

    /// The newest page of each backend.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Exposition<'a>> {
        self.backends.iter().filter_map(|backend| backend.pages.last()).map(|(_, page)| page)
    }

    /// A gauge that adds up over series and backends: requests running.
    pub(super) fn gauge_sum(&self, names: &[&str]) -> Option<Distribution> {
        self.gauge(names, |readings| readings.iter().map(|reading| reading.0).sum())
    }

    /// A gauge that is a share: the mean over series and backends, each of them weighing the same.
    pub(super) fn gauge_mean(&self, names: &[&str]) -> Option<Distribution> {
        self.gauge(names, |readings| {
            let (sum, n) = readings.iter().fold((0.0, 0.0), |(s, n), r| (s + r.0, n + r.1));
            if n > 0.0 { sum / n } else { 0.0 }
        })
    }

    /// By how much a counter grew, counting only series whose labels `keep` accepts. The first of `names` that a page
    /// has is read. `None` when no backend has two pages with it.
    pub(super) fn increase(
        &self,
        names: &[&str],
        keep: impl Fn(Labels<'_>) -> bool,
    ) -> Option<Increase> {
        let mut increase: Option<Increase> = None;
        for backend in &self.backends {
            let Some(total) = backend.grown(|page| self.read_sum(page, names, &keep)) else {
                continue;
            };
            let so_far = increase.unwrap_or(Increase { total: 0.0, per_s: 0.0 });
            increase = Some(Increase {
                total: so_far.total + total,
                per_s: so_far.per_s + total / backend.length_s(),
            });
        }
        increase
    }

    /// What a histogram counted in the window. The first of `names` (without `_bucket`) that a page has is read.
    /// `None` when no backend has two pages with it.
    pub(super) fn histogram(&self, names: &[&str]) -> Option<Histogram> {
        let mut sum: Option<Histogram> = None;
        for backend in self.backends.iter().filter(|backend| backend.length_s() > 0.0) {
            for life in &backend.lives {
                let Some(end) = self.read_histogram(&backend.pages[life.end].1, names) else {
                    continue;
                };
                let start = life.start.map(|at| &backend.pages[at].1);
                let start = start.and_then(|page| self.read_histogram(page, names));
                sum.get_or_insert_default().add(&end.since(&start.unwrap_or_default()));
            }
        }
        sum
    }

    /// The sum of a name's series on one page; `None` when the page has none of `names`. Unreadable values are left out.
    pub(super) fn read_sum(
        &self,
        page: &Exposition<'_>,
        names: &[&str],
        keep: impl Fn(Labels<'_>) -> bool,
    ) -> Option<f64> {
        let series = self.series(page, names)?;
        let kept = series.iter().filter(|s| keep(s.labels) && s.value.is_finite());
        Some(kept.map(|sample| sample.value).sum())
    }

    fn read_histogram(&self, page: &Exposition<'_>, names: &[&str]) -> Option<Histogram> {
        names.iter().find_map(|name| {
            let mut histogram = Histogram::default();
            for sample in self.series(page, &[&format!("{name}_bucket")])? {
                let edge = sample.labels.value("le").and_then(|le| le.parse().ok());
                histogram.add_bucket(edge.unwrap_or(f64::NAN), sample.value);
            }
            let sum = self.read_sum(page, &[&format!("{name}_sum")], |_| true);
            histogram.add_sum(sum.unwrap_or(0.0));
            Some(histogram)
        })
    }

    /// The series of the first of `names` that the page has, copies and parts of others left out.
    fn series<'p>(&self, page: &'p Exposition<'a>, names: &[&str]) -> Option<Vec<&'p Sample<'a>>>
    where
        'a: 'p,
    {
        names.iter().find_map(|name| {
            let all = page.samples().iter().filter(|sample| sample.name == *name);
            let mut series: Vec<_> = all.collect();
            if series.len() > 1 {
                drop_parts(&mut series, self.rules.parts);
                drop_copies(&mut series, self.rules.copies);
            }
            (!series.is_empty()).then_some(series)
        })
    }

    fn gauge(
        &self,
        names: &[&str],
        combine: impl Fn(&[(f64, f64)]) -> f64,
    ) -> Option<Distribution> {
        let read = |backend: usize, page: usize| {
            let series = self.series(&self.backends[backend].pages[page].1, names)?;
            let finite = series.iter().map(|s| s.value).filter(|value| value.is_finite());
            let (sum, n) = finite.fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
            (n > 0.0).then_some((sum, n))
        };
        let mut points = Vec::new();
        for (at, members) in self.rounds() {
            let readings: Vec<_> = members.iter().filter_map(|&(b, page)| read(b, page)).collect();
            if !readings.is_empty() {
                points.push((at, combine(&readings)));
            }
        }
        distribution(&points)
    }

    /// Groups the pages into scrape rounds: at most one page of each backend. A backend that missed a round between
    /// two of its pages stands in with the earlier one, so a slow answer does not look like a drop in load.
    fn rounds(&self) -> Vec<(Millis, Vec<(usize, usize)>)> {
        let mut stops: Vec<(Millis, usize, usize)> = Vec::new();
        for (backend, pages) in self.backends.iter().enumerate() {
            stops
                .extend(pages.pages.iter().enumerate().map(|(page, (at, _))| (*at, backend, page)));
        }
        stops.sort_unstable();
        let mut rounds: Vec<(Millis, BTreeMap<usize, usize>)> = Vec::new();
        for (at, backend, page) in stops {
            match rounds.last_mut() {
                Some((when, round)) if !round.contains_key(&backend) => {
                    round.insert(backend, page);
                    *when = at;
                }
                _ => rounds.push((at, BTreeMap::from([(backend, page)]))),
            }
        }
        for backend in 0..self.backends.len() {
            fill_gaps(&mut rounds, backend, self.backends[backend].pages.len());
        }
        rounds.into_iter().map(|(at, round)| (at, round.into_iter().collect())).collect()
    }
}

impl BackendPages<'_> {
    fn length_s(&self) -> f64 {
        match (self.pages.first(), self.pages.last()) {
            (Some((first, _)), Some((last, _))) => seconds(*first, *last),
            _ => 0.0,
        }
    }

    /// Growth of one figure over every life. A series that appears after the first page started at zero there: engines
    /// create a labelled counter with its first event.
    fn grown(&self, figure: impl Fn(&Exposition<'_>) -> Option<f64>) -> Option<f64> {
        if self.length_s() <= 0.0 {
            return None;
        }
        let mut grown = None;
        for life in &self.lives {
            let Some(end) = figure(&self.pages[life.end].1) else { continue };
            let start = life.start.and_then(|at| figure(&self.pages[at].1)).unwrap_or(0.0);
            let more = if end >= start { end - start } else { end };
            grown = Some(grown.unwrap_or(0.0) + more);
        }
        grown
    }
}

fn seconds(from: Millis, to: Millis) -> f64 {
    to.since(from) as f64 / 1000.0
}

fn lives(pages: &[(Millis, Exposition<'_>)], rules: &Rules) -> Vec<Life> {
    let mut lives = vec![Life { start: Some(0), end: 0 }];
    for at in 1..pages.len() {
        let restarted = restarted(&pages[at - 1].1, &pages[at].1, rules);
        match lives.last_mut() {
            Some(life) if !restarted => life.end = at,
            _ => lives.push(Life { start: None, end: at }),
        }
    }
    lives
}

/// Whether the process behind the second page is another one than behind the first.
fn restarted(before: &Exposition<'_>, after: &Exposition<'_>, rules: &Rules) -> bool {
    let sum = |page: &Exposition<'_>, name: &str| {
        let values = page.samples().iter().filter(|s| s.name == name).map(|s| s.value);
        values.reduce(|sum, value| sum + value)
    };
    let born = |page| sum(page, "process_start_time_seconds");
    if let (Some(first), Some(second)) = (born(before), born(after)) {
        return (second - first).abs() > 1.0;
    }
    let shrank = |name: &&str| sum(after, name).unwrap_or(0.0) < sum(before, name).unwrap_or(0.0);
    rules.counters.iter().any(shrank)
}

fn fill_gaps(rounds: &mut [(Millis, BTreeMap<usize, usize>)], backend: usize, pages: usize) {
    let mut newest = None;
    for (_, round) in rounds {
        match (round.get(&backend), newest) {
            (Some(page), _) => newest = Some(*page),
            // Only between two pages: a backend that is gone does not haunt the rounds after it.
            (None, Some(page)) if page + 1 < pages => drop(round.insert(backend, page)),
            _ => {}
        }
    }
}

fn drop_parts(series: &mut Vec<&Sample<'_>>, parts: &[&str]) {
    let is_part = |sample: &Sample<'_>| {
        parts.iter().any(|part| sample.labels.value(part).is_some_and(|value| !value.is_empty()))
    };
    if series.iter().any(|sample| !is_part(sample)) {
        series.retain(|sample| !is_part(sample));
    }
}

fn drop_copies(series: &mut Vec<&Sample<'_>>, copies: &[&str]) {
    if copies.is_empty() {
        return;
    }
    let mut seen = std::collections::BTreeSet::new();
    series.retain(|sample| {
        let mut labels: Vec<_> =
            sample.labels.iter().filter(|(name, _)| !copies.contains(name)).collect();
        labels.sort_unstable();
        seen.insert(labels)
    });
}

fn distribution(points: &[(Millis, f64)]) -> Option<Distribution> {
    let ((first_at, first), (last_at, last)) = (*points.first()?, *points.last()?);
    let mut sorted: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
    sorted.sort_by(f64::total_cmp);
    let rank = 0.95 * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    let length_s = seconds(first_at, last_at);
    Some(Distribution {
        last,
        mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
        p95: low + (high - low) * rank.fract(),
        max: sorted[sorted.len() - 1],
        slope_per_s: if length_s > 0.0 { (last - first) / length_s } else { 0.0 },
        samples: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
    })
}

fn wrong_engine(page: &Page, parsed: &Exposition<'_>, rules: &Rules) -> Error {
    let found = super::dialect::engine_of(parsed);
    let detail = match found {
        Some(engine) => format!("its series are {engine}'s"),
        None if parsed.samples().is_empty() => "it has no series at all".to_owned(),
        None => {
            format!("none of its {} series starts with `{}`", parsed.samples().len(), rules.prefix)
        }
    };
    Error::WrongEngine { endpoint: page.backend.clone(), expected: rules.kind.to_string(), detail }
}
