//! `wait`: a durable timer or an external signal; costs a row, not a task.

use async_trait::async_trait;
use serde_json::Value;

use crate::base::{Clock, Problem};
use crate::graph::WaitSpec;
use crate::runtime::{
    ErrorClass, Node, NodeError, Outcome, StateView, TaskContext, Usage, WaitFor,
};

/// First visit: says what it waits for. Second visit: writes what the signal brought to `writes`.
pub(super) struct WaitNode {
    pub(super) spec: WaitSpec,
    pub(super) writes: Option<String>,
}

#[async_trait]
impl Node for WaitNode {
    /// Errors: class [`ErrorClass::Timeout`] when the signal did not come in time.
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let Some(woken) = &view.woken else {
            return Ok(Outcome::Wait(self.wait_for(cx.clock.as_ref())));
        };
        match &self.spec {
            WaitSpec::For(_) => Ok(self.heard(None)),
            WaitSpec::Signal { name, .. } => match woken.get("payload") {
                Some(payload) => Ok(self.heard(Some(payload))),
                None => Err(missed(&cx.node, name)),
            },
        }
    }
}

impl WaitNode {
    /// The end of the wait, with what the signal brought.
    pub(super) fn heard(&self, payload: Option<&Value>) -> Outcome {
        let writes = self.writes.iter().zip(payload);
        let writes = writes.map(|(channel, payload)| (channel.clone(), payload.clone())).collect();
        Outcome::Update { writes, grant: None, usage: Usage::default() }
    }

    fn wait_for(&self, clock: &dyn Clock) -> WaitFor {
        let now = clock.now();
        match &self.spec {
            WaitSpec::For(ms) => WaitFor::Until(now.plus(*ms).0),
            WaitSpec::Signal { name, timeout_ms } => WaitFor::Signal {
                name: name.clone(),
                give_up_at: timeout_ms.map(|ms| now.plus(ms).0),
            },
        }
    }
}

fn missed(node: &str, signal: &str) -> NodeError {
    let problem = Problem {
        code: "nodes.signal_missed".to_owned(),
        message: format!("`{node}` waited for the signal `{signal}`, which did not come in time"),
        hint: "raise the wait's `timeout`, or say under `on_error` what follows".to_owned(),
    };
    NodeError::new(ErrorClass::Timeout, problem)
}
