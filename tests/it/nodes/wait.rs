//! `wait` for a signal: its value as it came, checked; a failure when it does not come.

use perf_agent::base::Coded;
use perf_agent::engine::Rest;
use perf_agent::llm::Scripted;
use perf_agent::runtime::{Activate, ThreadStatus};
use serde_json::{Value, json};

use super::support::{Desk, Looks};
use crate::runtime::support::code;

fn waiting(more: &str) -> String {
    let (mend, edge) = match more {
        "" => ("", ""),
        _ => ("  mend: { set: { went: elsewhere } }\n", ", mend -> end"),
    };
    format!(
        "
name: hear
state: {{ count: integer, went: {{ type: string, default: on }} }}
output: [went]
nodes:
  hear: {{ wait: {{ signal: go, timeout: 1h }}, writes: count, retry: {{ max: 3 }}{more} }}
{mend}edges: [start -> hear -> end{edge}]
"
    )
}

fn desk() -> Desk {
    Desk::new(Scripted::default(), Looks::blank())
}

const MENDED: &str = ", on_error: [{ when: \"error.class == 'timeout'\", to: mend }]";

#[tokio::test]
async fn the_channel_holds_what_the_signal_brought_and_nothing_around_it() {
    let desk = desk();
    let graph = desk.graph(&waiting(MENDED));
    let rig = &desk.rig;
    rig.runtime.start(&rig.thread, graph, Value::Null, Value::Null).await.unwrap();
    // Until it waits: a leaping clock would leap over the hour.
    let stop = tokio_util::sync::CancellationToken::new();
    rig.runtime.activate(&rig.thread, &stop).await;
    let refused = rig.runtime.signal(&rig.thread, "go", json!("seven")).await.unwrap_err();
    assert_eq!(refused.code(), "runtime.signal_invalid");
    assert_eq!(rig.state().await.status, ThreadStatus::Busy, "it still waits");
    rig.runtime.signal(&rig.thread, "go", json!(7)).await.unwrap();
    assert_eq!(rig.rest().await, Rest::Over);
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["count"]), (ThreadStatus::Done, &json!(7)));
    assert_eq!(state.values["went"], json!("on"));
}

#[tokio::test]
async fn a_signal_that_does_not_come_is_a_failure_of_class_timeout_and_no_retry_waits_anew() {
    for (more, expected) in [(MENDED, ""), ("", "nodes.signal_missed")] {
        let desk = desk();
        let state = desk.rig.run(&desk.graph(&waiting(more)), Value::Null).await;
        assert_eq!(code(&state), expected);
        assert_eq!(state.updated.since(state.started), 3_600_000);
        let went = if expected.is_empty() { "elsewhere" } else { "on" };
        assert_eq!(state.values["went"], json!(went));
    }
}
