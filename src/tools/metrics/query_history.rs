//! `query_history`: one metric over time.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::Observation;
use crate::serving::SeriesPoint;
use crate::tools::{Effect, Error, Tool, ToolContext};

/// Reads one metric of one deployment as a series.
pub(in crate::tools) struct QueryHistory;

/// Which metric of which deployment, how far back, how fine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::tools) struct Args {
    /// Name of the deployment.
    deployment: String,
    /// The metric.
    metric: HistoryMetric,
    /// How far back to look [s], 30 to 3600.
    #[schemars(range(min = 30, max = 3600))]
    window_s: u32,
    /// Length of one step [s], 10 to 600.
    #[schemars(range(min = 10, max = 600))]
    step_s: u32,
}

/// A metric with a history.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum HistoryMetric {
    /// Server's TTFT p95 [ms].
    TtftP95Ms,
    /// Server's gap between tokens, p99 [ms].
    ItlP99Ms,
    /// Server's time per output token, p95 [ms].
    TpotP95Ms,
    /// Requests in a batch, mean.
    RunningMean,
    /// Requests waiting, mean.
    WaitingMean,
    /// KV-cache utilization, mean, 0–1.
    KvCacheUtilization,
    /// Preemptions per second.
    PreemptionsPerS,
    /// Prompt tokens per second.
    PromptTokS,
    /// Generated tokens per second.
    GenerationTokS,
    /// Finished requests per second.
    FinishedRps,
}

impl HistoryMetric {
    fn of(self, seen: &Observation) -> Option<f64> {
        match self {
            Self::TtftP95Ms => seen.ttft.as_ref().map(|l| l.p95_ms),
            Self::ItlP99Ms => seen.itl.as_ref().map(|l| l.p99_ms),
            Self::TpotP95Ms => seen.tpot.as_ref().map(|l| l.p95_ms),
            Self::RunningMean => seen.running.map(|d| d.mean),
            Self::WaitingMean => seen.waiting.map(|d| d.mean),
            Self::KvCacheUtilization => seen.kv_cache_utilization.map(|d| d.mean),
            Self::PreemptionsPerS => seen.preemptions_per_s,
            Self::PromptTokS => seen.prompt_tok_s,
            Self::GenerationTokS => seen.generation_tok_s,
            Self::FinishedRps => seen.finished_rps,
        }
    }
}

/// A series, oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::tools) struct Output {
    /// The metric.
    metric: HistoryMetric,
    /// One point a step; `null` where the pages did not say.
    points: Vec<SeriesPoint>,
}

#[async_trait]
impl Tool for QueryHistory {
    const NAME: &'static str = "query_history";
    const EFFECT: Effect = Effect::Read;
    type Args = Args;
    type Output = Output;

    async fn call(&self, args: Args, cx: &ToolContext) -> Result<Output, Error> {
        let target = cx.target(&args.deployment)?;
        let (window_s, step_s) = (f64::from(args.window_s), f64::from(args.step_s));
        let windows = target.observe.series(window_s, step_s).await?;
        let point = |seen: &Observation| SeriesPoint { at: seen.at, value: args.metric.of(seen) };
        Ok(Output { metric: args.metric, points: windows.iter().map(point).collect() })
    }
}
