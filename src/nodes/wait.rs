//! `wait`: a durable timer or an external signal; costs a row, not a task.

use async_trait::async_trait;

use crate::base::Clock;
use crate::graph::WaitSpec;
use crate::runtime::{Node, NodeError, Outcome, StateView, TaskContext, Usage, WaitFor};

/// First visit: says what it waits for. Second visit: writes what woke it to `writes`.
pub(super) struct WaitNode {
    pub(super) spec: WaitSpec,
    pub(super) writes: Option<String>,
}

#[async_trait]
impl Node for WaitNode {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let Some(woken) = &view.woken else {
            return Ok(Outcome::Wait(self.wait_for(cx.clock.as_ref())));
        };
        let writes = self.writes.iter().map(|channel| (channel.clone(), woken.clone())).collect();
        Ok(Outcome::Update { writes, grant: None, usage: Usage::default() })
    }
}

impl WaitNode {
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
