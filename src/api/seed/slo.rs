//! Targets of callers: compared with what was seen, and told to the diagnosis where it knows them.

use serde_json::{Value, json};

use super::fields::Fields;
use super::stamp;
use crate::base::Millis;
use crate::domain::{Metric, Statistic, Target};

/// How two numbers may be compared.
const COMPARISONS: [&str; 5] = ["<", "<=", ">", ">=", "=="];

/// A target of the caller's.
pub(super) struct Slo {
    name: String,
    /// Path into the snapshot: `request_metrics.time_to_first_token_seconds`.
    metric: String,
    target_value: f64,
    comparison: String,
    description: Option<String>,
}

/// A target beside what was seen.
pub(super) struct SloStatus {
    /// As it is answered.
    pub(super) value: Value,
    /// `None`: the metric is unknown.
    pub(super) compliant: Option<bool>,
}

impl Slo {
    /// Reads a target.
    pub(super) fn read(fields: &mut Fields) -> Self {
        let (name, metric) = (fields.text("name"), fields.text("metric"));
        let target_value = fields.float("target_value", None).unwrap_or(0.0);
        let comparison = fields.text("comparison");
        if !comparison.is_empty() && !COMPARISONS.contains(&comparison.as_str()) {
            let message = format!("Input should be one of {}", COMPARISONS.join(", "));
            fields.refuse("comparison", message, "enum");
        }
        let description = fields.text_or_none("description");
        Self { name, metric, target_value, comparison, description }
    }

    /// Compares it with a snapshot.
    pub(super) fn status(&self, snapshot: &Value, at: Millis) -> SloStatus {
        let place = format!("/{}", self.metric.replace('.', "/"));
        let current = snapshot.pointer(&place).and_then(Value::as_f64);
        let compliant = current.map(|current| self.holds(current));
        let deviation = current
            .filter(|_| self.target_value != 0.0)
            .map(|current| (current - self.target_value) / self.target_value.abs() * 100.0);
        let value = json!({
            "target": {
                "name": self.name, "metric": self.metric, "target_value": self.target_value,
                "comparison": self.comparison, "description": self.description,
            },
            "current_value": current,
            "is_compliant": compliant,
            "deviation_percent": deviation,
            "timestamp": stamp(at),
        });
        SloStatus { value, compliant }
    }

    fn holds(&self, current: f64) -> bool {
        match self.comparison.as_str() {
            "<" => current < self.target_value,
            "<=" => current <= self.target_value,
            ">" => current > self.target_value,
            ">=" => current >= self.target_value,
            _ => (current - self.target_value).abs() <= f64::EPSILON * self.target_value.abs(),
        }
    }

    /// The same as a bound that the diagnosis knows: an upper limit on a latency.
    pub(super) fn bound(&self) -> Option<Target> {
        let metric = match self.metric.rsplit('.').next()? {
            "time_to_first_token_seconds" => Metric::Ttft,
            "time_per_output_token_seconds" | "mean_time_per_token_seconds" => Metric::Tpot,
            "e2e_latency_seconds" | "request_duration_seconds" => Metric::E2e,
            _ => return None,
        };
        let upper = self.comparison.starts_with('<') && self.target_value > 0.0;
        let max_ms = self.target_value * 1000.0;
        (upper && max_ms.is_finite()).then_some(Target {
            metric,
            statistic: Statistic::Mean,
            max_ms,
        })
    }
}
