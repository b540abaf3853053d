//! The tree of a run: nodes, and under each its tool calls, trials and rollout steps. Pure: events in, rows out.

use serde_json::Value;

use super::row::{Mark, Row};
use super::words;
use crate::agent::JournalEntry;
use crate::base::Millis;

/// The branches that are not on the screen for good yet.
#[derive(Default)]
pub(super) struct Tree {
    branches: Vec<Branch>,
}

/// One node.
struct Branch {
    node: String,
    from: Millis,
    /// When it finished; a repeated node is opened again.
    to: Option<Millis>,
    mark: Mark,
    detail: String,
    leaves: Vec<Leaf>,
}

/// Something inside a node.
struct Leaf {
    kind: Kind,
    /// What tells it from others of its kind.
    key: String,
    label: String,
    detail: String,
    from: Millis,
    to: Option<Millis>,
    mark: Mark,
    share: Share,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A tool call.
    Call,
    /// One of a list: a trial.
    Element,
    /// Part of a call, without a number.
    Phase,
    /// One share of a rollout.
    Step,
}

/// How much of a leaf is done.
#[derive(Debug, Clone, Copy)]
enum Share {
    Unknown,
    /// It should take `expected_ms` from `since` on.
    Timed {
        since: Millis,
        expected_ms: f64,
    },
    /// 0–1.
    Known(f64),
}

impl Tree {
    /// Folds one event in.
    pub(super) fn take(&mut self, event: &JournalEntry) {
        let (at, data) = (event.at, &event.data);
        let node = data["node"].as_str().unwrap_or_default();
        match &*event.kind {
            "STEP_STARTED" => self.branch(node, at).reopen(),
            "STEP_FINISHED" => self.branch(node, at).finish(at, data),
            "CUSTOM" => self.branch(node, at).custom(at, &data["data"]),
            "INTERRUPT" => self.branch(node, at).end(at, Mark::Asked, "asks a person"),
            "RESUMED" => {
                let answer =
                    data["answer"].as_str().map_or(data["answer"].to_string(), str::to_owned);
                let by = data["by"].as_str().unwrap_or("somebody");
                self.branch(node, at).detail = format!("{answer}, says {by}");
            }
            "RETRY" => {
                let why = data["problem"]["message"].as_str().unwrap_or_default();
                let leaf = Leaf::new(Kind::Call, "", "tries again", why, at);
                self.branch(node, at).leaves.push(leaf.ended(at, Mark::Failed));
            }
            "RUN_ERROR" => {
                let why = data["problem"]["message"].as_str().unwrap_or_default();
                self.branch(node, at).end(at, Mark::Failed, why);
            }
            "RUN_CANCELLED" => {
                for branch in self.branches.iter_mut().filter(|branch| branch.to.is_none()) {
                    branch.end(at, Mark::Failed, "cancelled");
                }
            }
            _ => {}
        }
    }

    /// Takes the rows of branches that are over and behind the newest: they change no more.
    pub(super) fn settled(&mut self) -> Vec<Row> {
        let newest = self.branches.len().saturating_sub(1);
        let over = self.branches[..newest].iter().take_while(|branch| branch.to.is_some()).count();
        self.branches.drain(..over).flat_map(|branch| branch.closed().rows(Millis(0))).collect()
    }

    /// Takes every row, as things stand.
    pub(super) fn drain(&mut self, now: Millis) -> Vec<Row> {
        self.branches.drain(..).flat_map(|branch| branch.closed().rows(now)).collect()
    }

    /// The rows that may still change.
    pub(super) fn open(&self, now: Millis) -> Vec<Row> {
        self.branches.iter().flat_map(|branch| branch.rows(now)).collect()
    }

    fn branch(&mut self, node: &str, at: Millis) -> &mut Branch {
        let place = self.branches.iter().position(|branch| branch.node == node);
        let place = place.unwrap_or_else(|| {
            self.branches.push(Branch::new(node, at));
            self.branches.len() - 1
        });
        &mut self.branches[place]
    }
}

impl Branch {
    fn new(node: &str, from: Millis) -> Self {
        let (node, detail, leaves) = (node.to_owned(), String::new(), Vec::new());
        Self { node, from, to: None, mark: Mark::Running, detail, leaves }
    }

    fn reopen(&mut self) {
        (self.to, self.mark) = (None, Mark::Running);
    }

    fn end(&mut self, at: Millis, mark: Mark, detail: &str) {
        (self.to, self.mark, self.detail) = (Some(at), mark, detail.to_owned());
    }

    fn finish(&mut self, at: Millis, data: &Value) {
        if let Some(why) = data["error"]["problem"]["message"].as_str() {
            return self.end(at, Mark::Failed, why);
        }
        (self.to, self.mark) = (Some(at), Mark::Done);
        if let Some(note) = words::outcome(&data["writes"]) {
            self.detail = note;
        }
        let trials = data["writes"]["trials"].as_array().map_or(&[][..], Vec::as_slice);
        let elements = self.leaves.iter_mut().filter(|leaf| leaf.kind == Kind::Element);
        for (leaf, trial) in elements.zip(trials) {
            leaf.mark =
                if trial["outcome"] == "failed_to_start" { Mark::Failed } else { Mark::Done };
            leaf.detail = words::trial(trial).unwrap_or_default();
        }
    }

    fn custom(&mut self, at: Millis, data: &Value) {
        if let Some(tool) = data["tool"].as_str() {
            self.call(at, tool, data);
        } else if let Some(element) = data.get("element") {
            let number = element["index"].as_u64().unwrap_or(0) + 1;
            let name = element["name"].as_str().unwrap_or_default();
            let label = format!("{number}/{} {name}", element["count"]);
            self.leaves.push(Leaf::new(Kind::Element, "", &label, "", at));
        } else if let Some(progress) = data.get("progress") {
            self.progress(at, progress);
        } else if let Some(rollout) = data.get("rollout") {
            self.rollout(at, rollout);
        } else if let Some(model) = data.get("model") {
            let tokens = |name: &str| model["usage"][name].as_u64().unwrap_or(0);
            if tokens("input_tokens") > 0 {
                let (read, written) = (tokens("input_tokens"), tokens("output_tokens"));
                self.detail = format!("{} read {read}, wrote {written} tokens", model["name"]);
            }
        }
    }

    fn call(&mut self, at: Millis, tool: &str, data: &Value) {
        // The row of an element stands for its call; a look at a rollout shows as the rollout's steps.
        let own_row = tool != "rollout_status" && self.current(Kind::Element).is_none();
        match data["phase"].as_str() {
            Some("call") if own_row => {
                let detail = words::arguments(&data["args"]);
                self.leaves.push(Leaf::new(Kind::Call, tool, tool, &detail, at));
            }
            Some("call") => {}
            Some("failed") => {
                let why = data["problem"]["message"].as_str().unwrap_or_default();
                self.close(tool, at, Mark::Failed, Some(why));
            }
            _ => self.close(tool, at, Mark::Done, None),
        }
    }

    /// Ends what the end of a call ends: its row, or that of its element, and its phases.
    fn close(&mut self, tool: &str, at: Millis, mark: Mark, why: Option<&str>) {
        let mut open: Vec<&mut Leaf> =
            self.leaves.iter_mut().filter(|leaf| leaf.to.is_none()).collect();
        for leaf in open.iter_mut().filter(|leaf| leaf.kind == Kind::Phase) {
            leaf.end(at, mark);
        }
        let ended = open.into_iter().find(|leaf| leaf.kind == Kind::Element || leaf.key == tool);
        match (ended, why) {
            (Some(leaf), why) => {
                leaf.end(at, mark);
                leaf.detail = why.map_or(std::mem::take(&mut leaf.detail), str::to_owned);
            }
            (None, Some(why)) => {
                let leaf = Leaf::new(Kind::Call, tool, tool, why, at);
                self.leaves.push(leaf.ended(at, mark));
            }
            (None, None) => {}
        }
    }

    fn progress(&mut self, at: Millis, progress: &Value) {
        let label = progress["label"].as_str().unwrap_or_default();
        let done = progress["done"].as_f64() >= progress["total"].as_f64();
        let share = progress["expected_s"].as_f64().map_or(Share::Unknown, |seconds| {
            Share::Timed { since: at, expected_ms: seconds * 1000.0 }
        });
        if let Some(element) = self.current(Kind::Element) {
            element.detail = if done { String::new() } else { label.to_owned() };
            element.share = if done { Share::Unknown } else { share };
            return;
        }
        for phase in self.leaves.iter_mut().filter(|l| l.kind == Kind::Phase && l.to.is_none()) {
            phase.end(at, Mark::Done);
        }
        if !done {
            let leaf = Leaf::new(Kind::Phase, label, label, "", at);
            self.leaves.push(Leaf { share, ..leaf });
        }
    }

    fn rollout(&mut self, at: Millis, rollout: &Value) {
        for step in rollout["steps"].as_array().into_iter().flatten() {
            let (Some(percent), Some(from)) = (step["percent"].as_f64(), step["started"].as_u64())
            else {
                continue;
            };
            let label = format!("{percent:>3.0} % of users");
            let leaf = self.leaf(Kind::Step, &label, Millis(from));
            let judged = step["ended"].as_u64().map(Millis);
            leaf.detail = words::step(step);
            leaf.share = words::step_share(step, rollout, at.since(leaf.from) as f64)
                .map_or(Share::Unknown, Share::Known);
            if let Some(ended) = judged {
                let passed = step["verdict"] == "passed";
                leaf.end(ended, if passed { Mark::Done } else { Mark::Failed });
            }
        }
        self.after_steps(at, rollout);
    }

    /// What comes after the last step, or instead of the next: draining, soak, the way back.
    fn after_steps(&mut self, at: Millis, rollout: &Value) {
        let state = &rollout["state"];
        let name = state["name"].as_str().unwrap_or_default();
        let waits = ["draining", "soak", "rolling_back"].contains(&name);
        let label =
            if name == "soak" { "old version stays warm" } else { &*name.replace('_', " ") };
        let over = self.leaves.iter_mut().filter(|leaf| {
            leaf.kind == Kind::Phase && leaf.to.is_none() && !(waits && leaf.key == label)
        });
        over.for_each(|leaf| leaf.end(at, Mark::Done));
        if waits {
            let soak_ms = rollout["plan"]["soak_ms"].as_f64().filter(|_| name == "soak");
            let since = Millis(state["since"].as_u64().unwrap_or(at.0));
            let leaf = self.leaf(Kind::Phase, label, since);
            leaf.share =
                soak_ms.map_or(Share::Unknown, |expected_ms| Share::Timed { since, expected_ms });
            leaf.detail = state["reason"].as_str().unwrap_or_default().to_owned();
        }
    }

    fn leaf(&mut self, kind: Kind, label: &str, from: Millis) -> &mut Leaf {
        let place = self.leaves.iter().position(|leaf| leaf.kind == kind && leaf.key == label);
        let place = place.unwrap_or_else(|| {
            self.leaves.push(Leaf::new(kind, label, label, "", from));
            self.leaves.len() - 1
        });
        &mut self.leaves[place]
    }

    /// The newest leaf of a kind that is not over.
    fn current(&mut self, kind: Kind) -> Option<&mut Leaf> {
        self.leaves.iter_mut().rev().find(|leaf| leaf.kind == kind && leaf.to.is_none())
    }

    /// The branch with nothing left open in it.
    fn closed(mut self) -> Self {
        if let Some(at) = self.to {
            let mark = if self.mark == Mark::Failed { Mark::Failed } else { Mark::Done };
            let open = self.leaves.iter_mut().filter(|leaf| leaf.to.is_none());
            open.for_each(|leaf| leaf.end(at, mark));
        }
        self
    }

    fn rows(&self, now: Millis) -> Vec<Row> {
        let own = Row {
            depth: 0,
            mark: self.mark,
            label: self.node.clone(),
            detail: self.detail.clone(),
            share: None,
            elapsed_ms: self.to.unwrap_or(now).since(self.from),
        };
        std::iter::once(own).chain(self.leaves.iter().map(|leaf| leaf.row(now))).collect()
    }
}

impl Leaf {
    fn new(kind: Kind, key: &str, label: &str, detail: &str, from: Millis) -> Self {
        let (key, label, detail) = (key.to_owned(), label.to_owned(), detail.to_owned());
        let (to, mark, share) = (None, Mark::Running, Share::Unknown);
        Self { kind, key, label, detail, from, to, mark, share }
    }

    fn end(&mut self, at: Millis, mark: Mark) {
        (self.to, self.mark) = (Some(at), mark);
    }

    fn ended(mut self, at: Millis, mark: Mark) -> Self {
        self.end(at, mark);
        self
    }

    fn row(&self, now: Millis) -> Row {
        let share = match self.share {
            _ if self.to.is_some() => None,
            Share::Unknown => None,
            Share::Known(share) => Some(share),
            Share::Timed { since, expected_ms } => {
                // It ends when it says so, not when it was expected to.
                Some((now.since(since) as f64 / expected_ms.max(1.0)).min(0.99))
            }
        };
        Row {
            depth: 1,
            mark: self.mark,
            label: self.label.clone(),
            detail: self.detail.clone(),
            share,
            elapsed_ms: self.to.unwrap_or(now).since(self.from),
        }
    }
}
