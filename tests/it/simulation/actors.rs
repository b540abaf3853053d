//! Workers of the simulated graphs: what they do depends on the task and the attempt alone.

use std::sync::Arc;

use async_trait::async_trait;
use perf_agent::base::Problem;
use perf_agent::graph::{self, Mode};
use perf_agent::runtime::{
    ErrorClass, Node, NodeError, NodeFactory, Outcome, Question, StateView, TaskContext, Usage,
    WaitFor,
};
use serde_json::{Value, json};

use super::graphs::Role;
use super::storm::StormyStore;
use super::world::{Call, dice, eager_name, result};

/// Builds the workers of one life of the program.
pub struct Actors(pub Arc<StormyStore>);

struct Actor {
    role: Role,
    writes: Option<String>,
    repeats: bool,
    life: Arc<StormyStore>,
}

impl NodeFactory for Actors {
    fn node(&self, definition: &graph::Node) -> Arc<dyn Node> {
        Arc::new(Actor {
            role: self.0.world.sample.roles[&definition.name],
            writes: definition.writes.clone(),
            repeats: definition.repeat.is_some(),
            life: self.0.clone(),
        })
    }
}

#[async_trait]
impl Node for Actor {
    async fn run(&self, view: &StateView, cx: &TaskContext) -> Result<Outcome, NodeError> {
        let task = &self.name(view, cx);
        self.life.point().await;
        for _ in 0..dice(&["pace", task], 4) {
            tokio::task::yield_now().await;
        }
        if dice(&["says", task], 4) == 0 {
            (cx.emit)(json!("at work"));
        }
        let extra = match self.role {
            Role::Effect(policy) => self.act(policy, task, cx).await?,
            Role::Ask => match &view.answer {
                None => return Ok(Outcome::Ask(self.question(task, cx))),
                Some(answer) => answer.value.as_u64().unwrap_or(0),
            },
            Role::Timer if view.woken.is_none() => {
                let until = cx.clock.now().0 + dice(&["timer", task], 90_000);
                return Ok(Outcome::Wait(WaitFor::Until(until)));
            }
            Role::Signal if view.woken.is_none() => {
                return Ok(Outcome::Wait(self.signal(task, cx)));
            }
            Role::Flaky => self.fail(task, cx)?,
            Role::Slow => self.dawdle(task, cx).await,
            // Without the hook: thousands of worlds would fill the screen.
            Role::Panics if dice(&["panic", task], 9) == 0 => {
                std::panic::resume_unwind(Box::new("simulated"))
            }
            _ => 0,
        };
        Ok(self.update(view, task, extra))
    }
}

impl Actor {
    /// What the dice know the task by. In an eager graph who ended before decides the superstep, so there it is the node and
    /// how often it was started.
    fn name(&self, view: &StateView, cx: &TaskContext) -> String {
        match self.life.world.sample.graph.mode {
            Mode::Superstep => cx.task.clone(),
            Mode::Eager => eager_name(&cx.node, view.visits[&cx.node]),
        }
    }

    /// One or two side effects; the sum of their results.
    async fn act(
        &self,
        policy: &'static str,
        task: &str,
        cx: &TaskContext,
    ) -> Result<u64, NodeError> {
        let world = &self.life.world;
        // Whoever looks at the target cannot know what an owner that is still alive will do next.
        let policy =
            if world.storm.two_owners && policy == "at_most_once" { "probe" } else { policy };
        let mut sum = 0;
        for number in 0..=dice(&["calls", task], 2) as u32 {
            let key = cx.effects.key(number);
            let done = match cx.effects.begin(&key, policy).await? {
                Some(done) => done,
                None => {
                    self.life.point().await;
                    let run = cx.run.as_str();
                    world.apply(&Call { run, task: &cx.task, number, key: &key.0, policy });
                    self.life.point().await;
                    let done = result(task, number);
                    cx.effects.finish(&key, &done).await?;
                    done
                }
            };
            if done != result(task, number) {
                world.broken(format!("effect {number} of {} gave {done}", cx.task));
            }
            sum += done.as_u64().unwrap_or(0);
        }
        Ok(sum)
    }

    fn question(&self, task: &str, cx: &TaskContext) -> Question {
        let expires = self.life.world.storm.unruly && dice(&["expires", task], 2) == 0;
        Question {
            text: task.to_owned(),
            answer_schema: json!({ "type": "integer" }),
            expires_at: expires.then(|| cx.clock.now().0 + dice(&["expiry", task], 20_000)),
            on_expiry: (dice(&["on expiry", task], 2) == 0).then(|| json!(3)),
        }
    }

    fn signal(&self, task: &str, cx: &TaskContext) -> WaitFor {
        let gives_up = self.life.world.storm.unruly && dice(&["gives up", task], 2) == 0;
        let give_up_at = gives_up.then(|| cx.clock.now().0 + dice(&["give up", task], 20_000));
        WaitFor::Signal { name: cx.node.clone(), give_up_at }
    }

    /// Fails the first attempts of some tasks, and every one of a few.
    fn fail(&self, task: &str, cx: &TaskContext) -> Result<u64, NodeError> {
        let attempts = match dice(&["fails", task], 8) {
            0 => u64::MAX,
            1..=3 => 1 + dice(&["attempts", task], 3),
            _ => 0,
        };
        if u64::from(cx.attempt) >= attempts {
            return Ok(0);
        }
        let class = match dice(&["class", task], 3) {
            0 => ErrorClass::Unavailable,
            1 => ErrorClass::RateLimited,
            _ => ErrorClass::Fatal,
        };
        let problem = Problem {
            code: "test.failure".to_owned(),
            message: "it did not work".to_owned(),
            hint: String::new(),
        };
        let retry_after_ms = (class == ErrorClass::RateLimited).then_some(3_000);
        Err(NodeError { retry_after_ms, ..NodeError::new(class, problem) })
    }

    async fn dawdle(&self, task: &str, cx: &TaskContext) -> u64 {
        let attempt = cx.attempt.to_string();
        let ms = match dice(&["dawdles", task, &attempt], 4) {
            0 => 200_000,
            n => n * 3_000,
        };
        cx.clock.sleep_ms(ms).await;
        ms % 7
    }

    fn update(&self, view: &StateView, task: &str, extra: u64) -> Outcome {
        let n = dice(&["writes", task], 9) + extra;
        let channel = self.writes.clone().unwrap_or_default();
        let held = view.channels.get(&channel).and_then(Value::as_u64).unwrap_or(0);
        let value = match channel.as_str() {
            "items" | "kinds" => json!([n, n % 3]),
            "facts" => json!({ (format!("k{}", n % 4)): n }),
            "talk" => json!([{ "id": format!("m{}", n % 5), "text": n }]),
            _ if self.repeats => json!(held + 1),
            _ => json!(n),
        };
        let usage = Usage { input_tokens: n, output_tokens: 1, cost_usd: 0.0 };
        Outcome::Update { writes: vec![(channel, value)], grant: None, usage }
    }
}
