//! The words a graph may use here: types, tools, prompts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::sources::Texts;
use crate::domain::{
    Diagnosis, Knob, Objective, Observation, Proposal, Report, RolloutStatus, ServingConfig, Trial,
};
use crate::graph::{Effect, ToolFacts, Vocabulary};
use crate::tools::{self, Approval, Registry};

/// Everything a graph file may name.
pub(super) fn vocabulary(registry: &Registry, prompts: &Texts) -> Vocabulary {
    Vocabulary {
        tools: registry.describe().into_iter().filter(|tool| tool.enabled).map(facts).collect(),
        types: types(),
        prompts: prompts.clone(),
        ..Vocabulary::default()
    }
}

fn facts(tool: tools::Description) -> (String, ToolFacts) {
    let effect = match tool.effect {
        tools::Effect::Read => Effect::Read,
        tools::Effect::Stage => Effect::Stage,
        tools::Effect::Production => Effect::Production,
    };
    let approval = tool.approval == Approval::Required;
    (tool.name, ToolFacts { effect, approval, args: tool.arguments, output: tool.output })
}

fn types() -> BTreeMap<String, Value> {
    fn named<T: JsonSchema>(name: &str) -> (String, Value) {
        (name.to_owned(), schemars::schema_for!(T).to_value())
    }
    BTreeMap::from([
        named::<Diagnosis>("Diagnosis"),
        named::<Knob>("Knob"),
        named::<Objective>("Objective"),
        named::<Observation>("Observation"),
        named::<Proposal>("Proposal"),
        named::<Report>("Report"),
        named::<RolloutStatus>("RolloutStatus"),
        named::<ServingConfig>("ServingConfig"),
        named::<Trial>("Trial"),
    ])
}
