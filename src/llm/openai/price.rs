//! What a generation costs at list price.

use crate::llm::Usage;

/// Price of a model [USD per million tokens].
struct Price {
    input: f64,
    output: f64,
}

/// Groq's list prices. A model that is not here costs 0 in every report: we do not know, and say so in the docs.
///
/// Source: groq.com/pricing, `openai/gpt-oss-20b`.
fn list_price(model: &str) -> Option<Price> {
    match model {
        "openai/gpt-oss-20b" | "gpt-oss-20b" => Some(Price { input: 0.075, output: 0.30 }),
        _ => None,
    }
}

/// Cost of `usage` when Groq ran `model` [USD]; 0 for an unlisted model.
///
/// Tokens found in the provider's cache are charged in full, so this is never below the bill.
pub(super) fn cost_usd(model: &str, usage: &Usage) -> f64 {
    list_price(model).map_or(0.0, |price| {
        (usage.input_tokens as f64 * price.input + usage.output_tokens as f64 * price.output) / 1e6
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_in_and_out_cost_the_list_price() {
        let usage = Usage { input_tokens: 1_000_000, output_tokens: 1_000_000, ..Usage::default() };
        assert!((cost_usd("openai/gpt-oss-20b", &usage) - 0.375).abs() < 1e-12);
        assert_eq!(cost_usd("somebody/else", &usage), 0.0);
    }
}
