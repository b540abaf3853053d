//! What fits a device: weights, activations, and the KV blocks that are left.

use super::shape::Shape;
use super::{Refusal, ReplicaSpec};

pub(super) const GIB: f64 = 1_073_741_824.0;

/// CUDA context, CUDA graphs and library workspaces on one device [B].
const RUNTIME_BYTES: f64 = 1.1e9;
/// What a device keeps for talking to its neighbours [B]: NCCL's and the custom all-reduce's buffers.
const LINK_BYTES: f64 = 0.6e9;
/// 16-bit copies of the hidden state that are alive at once in a layer.
const HIDDEN_COPIES: f64 = 6.0;
/// 16-bit values alive per feed-forward unit: gate, up and their product.
const FFN_COPIES: f64 = 3.0;
/// Bytes per logit while sampling: a 32-bit copy and the sampler's own.
const LOGIT_BYTES: f64 = 8.0;

impl ReplicaSpec {
    /// Weight bytes on each device [B]; vocabulary tables stay 16 bit under quantization.
    pub fn weights_bytes_per_gpu(&self) -> f64 {
        Shape::of(&self.model).resident_bytes(self.config.weight_bytes, self.tensor_parallel())
    }

    /// Memory that is neither weights nor KV on each device [B]: the peak of vLLM's profile run, which is a full token
    /// budget and a full batch of logits, and what the runtime keeps. 2 to 4 GB at default budgets.
    pub fn activation_bytes_per_gpu(&self) -> f64 {
        let (model, config) = (&self.model, &self.config);
        let ffn = Shape::of(model).ffn / self.tensor_parallel();
        let per_token = 2.0 * (HIDDEN_COPIES * f64::from(model.hidden) + FFN_COPIES * ffn);
        let seats = f64::from(config.max_num_seqs.min(config.max_num_batched_tokens));
        let logits = seats * f64::from(model.vocab) * LOGIT_BYTES;
        let link = if config.tensor_parallel_size > 1 { LINK_BYTES } else { 0.0 };
        f64::from(config.max_num_batched_tokens) * per_token + logits + RUNTIME_BYTES + link
    }

    /// KV bytes of one token on each device [B]. Devices beyond the number of KV heads hold copies.
    pub(super) fn kv_bytes_per_token_and_gpu(&self) -> f64 {
        let split = self.config.tensor_parallel_size.min(self.model.kv_heads).max(1);
        self.model.kv_bytes_per_token(self.config.kv_bytes) / f64::from(split)
    }

    /// KV blocks of the replica; vLLM's `num_gpu_blocks`.
    ///
    /// `(memory · gpu_memory_utilization − weights − activations) / KV bytes of a block on one device`.
    /// Errors: [`Refusal::OutOfMemory`], [`Refusal::KvTooSmall`].
    pub fn kv_blocks(&self) -> Result<u64, Refusal> {
        let blocks = match self.config.num_gpu_blocks_override {
            Some(blocks) => u64::from(blocks),
            None => self.blocks_that_fit()?,
        };
        let kv_tokens = blocks * u64::from(self.config.block_size);
        let max_model_len = self.config.max_model_len;
        if kv_tokens < u64::from(max_model_len) {
            return Err(Refusal::KvTooSmall { max_model_len, kv_tokens });
        }
        Ok(blocks)
    }

    fn blocks_that_fit(&self) -> Result<u64, Refusal> {
        let allowed = self.gpu.memory_bytes * self.config.gpu_memory_utilization;
        let needed = self.weights_bytes_per_gpu() + self.activation_bytes_per_gpu();
        if allowed <= needed {
            let (needed_gib, allowed_gib) = (needed / GIB, allowed / GIB);
            return Err(Refusal::OutOfMemory { needed_gib, allowed_gib });
        }
        let block = self.kv_bytes_per_token_and_gpu() * f64::from(self.config.block_size);
        Ok(((allowed - needed) / block) as u64)
    }

    fn tensor_parallel(&self) -> f64 {
        f64::from(self.config.tensor_parallel_size.max(1))
    }
}
