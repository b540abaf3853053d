//! Prompts of plain words, about one token each.

use serde_json::{Value, json};

use super::schedule::lengths;
use super::{Arrival, LoadOptions};
use crate::base::{Rng as _, SeededRng};

/// Words that the vocabularies in use hold whole, with the space before them: one token each.
const WORDS: &str = "the and that have for not with you this but his from they say her she will one all would there \
their what out about who get which when make can like time just him know take people into year your good some could \
them see other than then now look only come its over think also back after use two how our work first well way even \
new want because any these give day most river house light water stone garden music paper window market winter summer \
morning evening doctor teacher student family friend city country mountain forest island ocean road bridge train \
letter story question answer reason number letter color green white black small large early late open close strong \
quiet simple different important possible public local human social national general special certain clear recent \
free full true whole better great high long little old young right next last few many much more less same such own \
both each every under between through during before without within along across behind beyond against toward among \
upon around still never always often again once perhaps almost enough rather quite very really already soon today \
learn teach write read speak listen watch move turn start stop carry hold bring keep leave meet build grow change \
follow create allow spend offer remember consider appear serve expect stay fall reach remain suggest raise pass sell";

/// What the chat template itself adds for two messages, roughly [tokens].
const TEMPLATE_TOKENS: u32 = 12;

/// The body of one request: a system message that every session shares, the conversation so far, a new question.
///
/// Earlier answers are stood in for by words of the length that was asked for, so that the load does not depend
/// on what the server said.
pub(super) fn body(options: &LoadOptions, arrival: &Arrival) -> Value {
    let shared = shared_words(options);
    let mut messages = Vec::with_capacity(2 + 2 * arrival.turn as usize);
    if shared > 0 {
        // The same for every seed, as a deployment's own system prompt would be.
        let text = words(&mut SeededRng::stream(0, "shared prefix"), shared);
        messages.push(json!({ "role": "system", "content": text }));
    }
    let mut asked = 1;
    for turn in 0..=arrival.turn {
        let (input, output) = lengths(options, arrival.session, turn);
        asked = output;
        let name = format!("text/{}/{turn}", arrival.session);
        let mut rng = SeededRng::stream(options.seed, &name);
        let question = input.saturating_sub(shared + TEMPLATE_TOKENS).max(1);
        messages.push(json!({ "role": "user", "content": words(&mut rng, question) }));
        if turn < arrival.turn {
            messages.push(json!({ "role": "assistant", "content": words(&mut rng, output) }));
        }
    }
    json!({
        "model": options.served_model,
        "messages": messages,
        "max_tokens": asked,
        "temperature": 0,
        "ignore_eos": options.ignore_eos,
        "stream": true,
        "stream_options": { "include_usage": true },
    })
}

/// Words of the prefix that all sessions share.
fn shared_words(options: &LoadOptions) -> u32 {
    let shared = options.profile.shared_prefix_ratio * options.profile.input_tokens.mean;
    shared.round().max(0.0) as u32
}

fn words(rng: &mut SeededRng, count: u32) -> String {
    let all: Vec<&str> = WORDS.split_ascii_whitespace().collect();
    let mut text = String::with_capacity(6 * count as usize);
    for number in 0..count {
        if number > 0 {
            text.push(' ');
        }
        text.push_str(all[(rng.unit() * all.len() as f64) as usize]);
    }
    text
}
