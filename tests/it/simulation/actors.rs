//! Workers of the simulated graphs: what they do depends on the task and the attempt alone.

use std::sync::Arc;

use async_trait::async_trait;
use perf_agent::base::Problem;
use perf_agent::graph;
use perf_agent::runtime::{
    ErrorClass, Node, NodeError, NodeFactory, Outcome, Question, StateView, TaskContext, Usage,
    WaitFor,
};
use serde_json::{Value, json};

use super::graphs::Role;
use super::storm::StormyStore;
use super::world::{Call, dice, result};

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
        self.life.point().await;
        for _ in 0..dice(&["pace", &cx.task], 4) {
            tokio::task::yield_now().await;
        }
        if dice(&["says", &cx.task], 4) == 0 {
            (cx.emit)(json!("at work"));
        }
        let extra = match self.role {
            Role::Effect(policy) => self.act(policy, cx).await?,
            Role::Ask => match &view.answer {
                None => return Ok(Outcome::Ask(self.question(cx))),
                Some(answer) => answer.value.as_u64().unwrap_or(0),
            },
            Role::Timer if view.woken.is_none() => {
                let until = cx.clock.now().0 + dice(&["timer", &cx.task], 90_000);
                return Ok(Outcome::Wait(WaitFor::Until(until)));
            }
            Role::Signal if view.woken.is_none() => return Ok(Outcome::Wait(self.signal(cx))),
            Role::Flaky => self.fail(cx)?,
            Role::Slow => self.dawdle(cx).await,
            // Without the hook: thousands of worlds would fill the screen.
            Role::Panics if dice(&["panic", &cx.task], 9) == 0 => {
                std::panic::resume_unwind(Box::new("simulated"))
            }
            _ => 0,
        };
        Ok(self.update(view, cx, extra))
    }
}

impl Actor {
    /// One or two side effects; the sum of their results.
    async fn act(&self, policy: &'static str, cx: &TaskContext) -> Result<u64, NodeError> {
        let world = &self.life.world;
        // Whoever looks at the target cannot know what an owner that is still alive will do next.
        let policy =
            if world.storm.two_owners && policy == "at_most_once" { "probe" } else { policy };
        let mut sum = 0;
        for number in 0..=dice(&["calls", &cx.task], 2) as u32 {
            let key = cx.effects.key(number);
            let done = match cx.effects.begin(&key, policy).await? {
                Some(done) => done,
                None => {
                    self.life.point().await;
                    let run = cx.run.as_str();
                    world.apply(&Call { run, task: &cx.task, number, key: &key.0, policy });
                    self.life.point().await;
                    let done = result(&cx.task, number);
                    cx.effects.finish(&key, &done).await?;
                    done
                }
            };
            if done != result(&cx.task, number) {
                world.broken(format!("effect {number} of {} gave {done}", cx.task));
            }
            sum += done.as_u64().unwrap_or(0);
        }
        Ok(sum)
    }

    fn question(&self, cx: &TaskContext) -> Question {
        let expires = self.life.world.storm.unruly && dice(&["expires", &cx.task], 2) == 0;
        Question {
            text: cx.task.clone(),
            answer_schema: json!({ "type": "integer" }),
            expires_at: expires.then(|| cx.clock.now().0 + dice(&["expiry", &cx.task], 20_000)),
            on_expiry: (dice(&["on expiry", &cx.task], 2) == 0).then(|| json!(3)),
        }
    }

    fn signal(&self, cx: &TaskContext) -> WaitFor {
        let gives_up = self.life.world.storm.unruly && dice(&["gives up", &cx.task], 2) == 0;
        let give_up_at = gives_up.then(|| cx.clock.now().0 + dice(&["give up", &cx.task], 20_000));
        WaitFor::Signal { name: cx.node.clone(), give_up_at }
    }

    /// Fails the first attempts of some tasks, and every one of a few.
    fn fail(&self, cx: &TaskContext) -> Result<u64, NodeError> {
        let attempts = match dice(&["fails", &cx.task], 8) {
            0 => u64::MAX,
            1..=3 => 1 + dice(&["attempts", &cx.task], 3),
            _ => 0,
        };
        if u64::from(cx.attempt) >= attempts {
            return Ok(0);
        }
        let class = match dice(&["class", &cx.task], 3) {
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
        Err(NodeError { class, problem, retry_after_ms })
    }

    async fn dawdle(&self, cx: &TaskContext) -> u64 {
        let attempt = cx.attempt.to_string();
        let ms = match dice(&["dawdles", &cx.task, &attempt], 4) {
            0 => 200_000,
            n => n * 3_000,
        };
        cx.clock.sleep_ms(ms).await;
        ms % 7
    }

    fn update(&self, view: &StateView, cx: &TaskContext, extra: u64) -> Outcome {
        let n = dice(&["writes", &cx.task], 9) + extra;
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
