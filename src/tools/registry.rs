//! The only caller of tools: validate → policy → effect ledger → call → record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Approval, Call, Effect, Error, Manifest, Services, Tool, ToolContext};
use crate::base::Coded;

/// Every tool with its manifest.
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
    services: Arc<Services>,
}

struct Entry {
    tool: Box<dyn Erased>,
    manifest: Manifest,
    arguments: jsonschema::Validator,
}

/// A tool as others see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// Name.
    pub name: String,
    /// What the model is told.
    pub tell: String,
    /// What a call may change.
    pub effect: Effect,
    /// Whether it needs consent.
    pub approval: Approval,
    /// Whether it can be called at all.
    pub enabled: bool,
    /// JSON Schema of the arguments.
    pub arguments: Value,
    /// JSON Schema of the result.
    pub output: Value,
}

impl Registry {
    /// Joins every tool of the list with its manifest.
    ///
    /// Errors: [`Error::BadManifest`] when a tool has no manifest, a manifest names no tool, or one declares less than its tool's effect.
    pub fn new(services: Services, manifests: Vec<Manifest>) -> Result<Self, Error> {
        let mut manifests: BTreeMap<String, Manifest> =
            manifests.into_iter().map(|m| (m.tool.clone(), m)).collect();
        let mut entries = BTreeMap::new();
        for tool in super::list::all() {
            let name = tool.name();
            let bad = |detail: String| Error::BadManifest { file: format!("{name}.yaml"), detail };
            let manifest = manifests
                .remove(name)
                .ok_or_else(|| bad("every tool needs a manifest and this one has none".into()))?;
            if manifest.effect < tool.effect() {
                return Err(bad(format!(
                    "effect {:?} is less than the tool's own {:?}",
                    manifest.effect,
                    tool.effect()
                )));
            }
            let arguments = jsonschema::validator_for(&tool.arguments_schema())
                .map_err(|error| bad(error.to_string()))?;
            entries.insert(name, Entry { tool, manifest, arguments });
        }
        if let Some(name) = manifests.into_keys().next() {
            let detail = format!("names tool `{name}`, and there is no such tool");
            return Err(Error::BadManifest { file: format!("{name}.yaml"), detail });
        }
        Ok(Self { entries, services: Arc::new(services) })
    }

    /// What the tools act on.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Every tool, by name.
    pub fn describe(&self) -> Vec<Description> {
        self.entries.values().map(Entry::describe).collect()
    }

    /// One tool.
    pub fn description(&self, name: &str) -> Option<Description> {
        self.entries.get(name).map(Entry::describe)
    }

    /// Whether there is such a tool and its arguments fit; nothing is called.
    ///
    /// Errors: [`Error::UnknownTool`], [`Error::InvalidArguments`].
    pub fn check(&self, tool: &str, args: &Value) -> Result<(), Error> {
        self.entry(tool)?.validate(args)
    }

    /// Makes a call, or returns the result it had when it was made before.
    ///
    /// Errors: every variant of [`Error`]; nothing happened unless the tool itself was reached. None is begun once `cancel` is
    /// set.
    pub async fn call(&self, call: Call<'_>) -> Result<Value, Error> {
        let entry = self.entry(call.tool)?;
        entry.validate(&call.args)?;
        entry.permit(&call)?;
        if call.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let (tool, args) = (call.tool.to_owned(), call.args.clone());
        let emit = call.emit.clone();
        if let Some(done) = call.ledger.begin(&call.key, &entry.manifest.on_crash).await? {
            emit(json!({"tool": tool, "phase": "remembered", "args": args}));
            return Ok(done);
        }
        emit(json!({"tool": tool, "phase": "call", "args": args}));
        let (key, ledger) = (call.key.clone(), call.ledger);
        let started = self.services.clock.now();
        let result = self.run(entry, call).await;
        let took_ms = self.services.clock.now().since(started);
        match &result {
            Ok(value) => {
                ledger.finish(&key, value).await?;
                tracing::debug!(tool, took_ms, "tool call done");
                emit(json!({"tool": tool, "phase": "done", "took_ms": took_ms}));
            }
            Err(error) => emit(json!({
                "tool": tool, "phase": "failed", "took_ms": took_ms, "problem": error.problem()
            })),
        }
        result
    }

    async fn run(&self, entry: &Entry, call: Call<'_>) -> Result<Value, Error> {
        let cx = ToolContext {
            services: self.services.clone(),
            targets: self.services.targets.now(),
            key: call.key,
            run: call.run,
            consents: call.consents,
            model: call.model,
            emit: call.emit,
            cancel: call.cancel,
        };
        let work = self.in_time(entry, entry.tool.call_json(call.args, &cx));
        // A look can be left at any moment. Who changes something is told, and puts it back.
        match entry.tool.effect() {
            Effect::Read => cx.unless_cancelled(work).await?,
            Effect::Stage | Effect::Production => work.await,
        }
    }

    /// The call under the manifest's limit.
    async fn in_time(
        &self,
        entry: &Entry,
        work: impl Future<Output = Result<Value, Error>>,
    ) -> Result<Value, Error> {
        let timeout_s = entry.manifest.timeout_s;
        if self.services.clock.is_simulated() {
            // A simulated clock moves only while somebody sleeps on it: racing it would change its history.
            return work.await;
        }
        let limit = Duration::from_secs(timeout_s);
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Error::Timeout { tool: entry.manifest.tool.clone(), timeout_s })
        })
    }

    fn entry(&self, name: &str) -> Result<&Entry, Error> {
        let entry = self.entries.get(name).ok_or_else(|| Error::UnknownTool {
            name: name.to_owned(),
            known: self.entries.keys().copied().collect::<Vec<_>>().join(", "),
        })?;
        if entry.manifest.enabled { Ok(entry) } else { Err(Error::Disabled(name.to_owned())) }
    }
}

impl Entry {
    fn describe(&self) -> Description {
        Description {
            name: self.manifest.tool.clone(),
            tell: self.manifest.tell.trim().to_owned(),
            effect: self.manifest.effect,
            approval: self.manifest.approval,
            enabled: self.manifest.enabled,
            arguments: self.tool.arguments_schema(),
            output: self.tool.output_schema(),
        }
    }

    fn validate(&self, args: &Value) -> Result<(), Error> {
        let misfits: Vec<String> = self
            .arguments
            .iter_errors(args)
            .take(5)
            .map(|misfit| format!("{}: {misfit}", misfit.instance_path()))
            .collect();
        if misfits.is_empty() {
            return Ok(());
        }
        Err(Error::InvalidArguments {
            tool: self.manifest.tool.clone(),
            detail: misfits.join("; "),
        })
    }

    fn permit(&self, call: &Call<'_>) -> Result<(), Error> {
        let gated = self.manifest.approval == Approval::Required;
        if gated && call.consents.is_empty() {
            return Err(Error::ApprovalMissing(self.manifest.tool.clone()));
        }
        Ok(())
    }
}

/// A tool without its types.
#[async_trait]
pub(super) trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn effect(&self) -> Effect;
    fn arguments_schema(&self) -> Value;
    fn output_schema(&self) -> Value;
    async fn call_json(&self, args: Value, cx: &ToolContext) -> Result<Value, Error>;
}

#[async_trait]
impl<T: Tool> Erased for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn effect(&self) -> Effect {
        T::EFFECT
    }

    fn arguments_schema(&self) -> Value {
        schemars::schema_for!(T::Args).to_value()
    }

    fn output_schema(&self) -> Value {
        schemars::schema_for!(T::Output).to_value()
    }

    async fn call_json(&self, args: Value, cx: &ToolContext) -> Result<Value, Error> {
        let misfit = |error: serde_json::Error| Error::InvalidArguments {
            tool: T::NAME.to_owned(),
            detail: error.to_string(),
        };
        let args: T::Args = serde_json::from_value(args).map_err(misfit)?;
        let output = self.call(args, cx).await?;
        serde_json::to_value(output).map_err(misfit)
    }
}
