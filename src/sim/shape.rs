//! What a model's shape implies: which of its weights a step reads, and which one device holds.

use crate::domain::ModelSpec;

/// Share of all parameters above which the two vocabulary tables must be one: no model with untied tables spends a
/// sixth of itself on them (Llama-3.1-8B 13 %, Qwen3-8B 15 %; tied: Qwen3-4B 19 %, Llama-3.2-3B 24 %, SmolLM2 42 %).
const TIED_ABOVE: f64 = 0.17;

/// Parameters by what is done with them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    /// In the layers, all of them.
    pub(super) body: f64,
    /// In the layers, used for one token.
    pub(super) active_body: f64,
    /// In the output head: read once a step, multiplied with sampled positions only, and never quantized.
    pub(super) head: f64,
    /// In the input table, unless it is the output head too: held, hardly read.
    pub(super) input_table: f64,
    /// Width of the feed-forward layers, as the rest implies it.
    pub(super) ffn: f64,
}

impl Shape {
    pub(super) fn of(model: &ModelSpec) -> Self {
        let table = f64::from(model.vocab) * f64::from(model.hidden);
        let tied = 2.0 * table > TIED_ABOVE * model.parameters;
        let input_table = if tied { 0.0 } else { table };
        let tables = table + input_table;
        let body = (model.parameters - tables).max(0.0);
        let active_body = (model.active_parameters - tables).max(0.0);
        let hidden = f64::from(model.hidden);
        let attention =
            2.0 * hidden * f64::from(model.head_dim) * f64::from(model.heads + model.kv_heads);
        let per_layer = active_body / f64::from(model.layers.max(1));
        let ffn = ((per_layer - attention) / (3.0 * hidden)).max(hidden);
        Self { body, active_body, head: table, input_table, ffn }
    }

    /// Weights in memory on one of `tensor_parallel` devices [B]; tables stay 16 bit under quantization.
    pub(super) fn resident_bytes(&self, weight_bytes: f64, tensor_parallel: f64) -> f64 {
        (self.body * weight_bytes + (self.head + self.input_table) * 2.0) / tensor_parallel
    }

    /// Weights one device reads in a step of `tokens` tokens [B]. A mixture of experts reads those that some token
    /// chose: `1 − (1 − active/all)^tokens` of them when choices are even.
    pub(super) fn read_bytes(&self, weight_bytes: f64, tensor_parallel: f64, tokens: f64) -> f64 {
        let chosen = if self.active_body < self.body {
            let missed = (1.0 - self.active_body / self.body).powf(tokens);
            self.body * (1.0 - missed)
        } else {
            self.body
        };
        (chosen * weight_bytes + self.head * 2.0) / tensor_parallel
    }
}
