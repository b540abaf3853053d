//! The protocol, whatever carries it: who we are, what can be called, and calls.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};

use super::offer::{self, McpAccess, Named, Offer, Rights};
use super::run;
use crate::agent::{Agent, Drivers};
use crate::api::Error;
use crate::api::security::{Caller, Scope, Security, Written};
use crate::base::{Coded, ThreadId};

const INSTRUCTIONS: &str = "Tunes LLM servers (vLLM, TGI, SGLang) without hurting users. Read with list_deployments, read_metrics and \
explain_bottleneck; `optimize` does the whole job from a goal in plain words and asks a person before anything reaches users. You \
cannot give that consent yourself: pass the question on, with how to answer it, and read the thread again afterwards. A null is \
unknown, not zero.";

/// What every call shares.
#[derive(Clone)]
pub(in crate::api) struct Door {
    pub(super) drivers: Drivers,
    pub(super) access: McpAccess,
    /// Text of the config file, kept with every run.
    pub(super) config: Option<Arc<str>>,
    /// How a person answers the question of a thread.
    pub(super) how_to_answer: fn(&ThreadId) -> String,
    /// Whether clients have keys; else whoever started this process is the client.
    pub(super) keys: bool,
}

impl Door {
    pub(super) fn agent(&self) -> &Agent {
        self.drivers.agent()
    }

    /// What this client may call. One that is not known may read.
    fn rights(&self, context: &RequestContext<RoleServer>) -> Rights {
        let known = |parts: &Parts| parts.extensions.get::<Caller>().cloned();
        let caller = context.extensions.get::<Parts>().and_then(known);
        let operates = !self.keys || caller.is_some_and(|caller| caller.may(Scope::Operate));
        Rights { effects: operates && self.access.effects, graphs: operates }
    }

    /// What `name` means to this client.
    fn named(&self, context: &RequestContext<RoleServer>, name: &str) -> Result<Offer, Missing> {
        let rights = self.rights(context);
        match offer::named(self.agent(), rights, name) {
            Named::Offered(offer) => return Ok(offer),
            Named::Withheld if rights.graphs => {
                return Err(Missing::Refused(Error::NotOffered(name.to_owned())));
            }
            Named::Withheld | Named::Unknown => {}
        }
        // There for somebody with another key?
        let most = Rights { effects: self.access.effects, graphs: true };
        match offer::named(self.agent(), most, name) {
            Named::Offered(_) => Err(Missing::Refused(Error::Forbidden(Scope::Operate))),
            Named::Withheld => Err(Missing::Refused(Error::NotOffered(name.to_owned()))),
            Named::Unknown => Err(Missing::Unknown),
        }
    }

    async fn call(
        &self,
        offer: &Offer,
        args: Value,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Error> {
        match offer {
            Offer::Tool(tool) => {
                let value = self.call_tool_of_registry(&tool.name, args).await?;
                Ok(tool_result(value, offer::is_object(&tool.output)))
            }
            Offer::Graph(shape) => run::start(self, shape, args, context).await.map(thread_result),
            Offer::ReadThread => run::read(self, &args, context).await.map(thread_result),
        }
    }

    async fn call_tool_of_registry(&self, tool: &str, args: Value) -> Result<Value, Error> {
        Ok(self.agent().call_tool(tool, args, self.access.consent).await?)
    }
}

impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        let version = env!("CARGO_PKG_VERSION");
        let name = Implementation::new("perf-agent", version).with_title("Performance Agent");
        let tools = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(tools).with_server_info(name).with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let offers = offer::all(self.agent(), self.rights(&context));
        let tools = offers.iter().map(|(name, offer)| offer.shown(name)).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        let args = Value::Object(request.arguments.unwrap_or_default());
        let offer = match self.named(&context, name) {
            Ok(offer) => Ok(offer),
            Err(Missing::Refused(error)) => Err(error),
            Err(Missing::Unknown) => return Err(unknown(self.agent(), name)),
        };
        let reads = offer.as_ref().is_ok_and(Offer::only_reads);
        let written = if reads { None } else { written(&context, name) };
        let called = match offer {
            Ok(offer) => self.call(&offer, args, &context).await,
            Err(error) => Err(error),
        };
        if let Some(written) = written {
            let failed = |error: &Error| crate::api::error::status_of(&error.problem().code);
            written.ended(called.as_ref().err().map_or(StatusCode::OK, failed));
        }
        Ok(called.unwrap_or_else(|error| refused(&error)).into())
    }
}

/// Why a name cannot be called.
enum Missing {
    /// There is nothing of that name.
    Unknown,
    /// There is, but not here, or not for this client.
    Refused(Error),
}

/// The line of the audit log for a call; `None`: over pipes there is none.
fn written(context: &RequestContext<RoleServer>, name: &str) -> Option<Written> {
    let parts = context.extensions.get::<Parts>()?;
    let security = parts.extensions.get::<Arc<Security>>()?;
    let caller = parts.extensions.get::<Caller>()?;
    Some(Written::begin(security, caller, parts, name))
}

/// What a tool gave. Only objects can be structured content; the text is there for every client.
fn tool_result(value: Value, is_object: bool) -> CallToolResult {
    match is_object {
        true => CallToolResult::structured(value),
        false => CallToolResult::success(vec![ContentBlock::text(value.to_string())]),
    }
}

/// What a run came to. One that failed is an error of the call, with all that is known of the thread.
fn thread_result(thread: Value) -> CallToolResult {
    match thread["error"].is_null() {
        true => CallToolResult::structured(thread),
        false => CallToolResult::structured_error(thread),
    }
}

/// A refusal or a failure, for the model to read: with the stable code.
fn refused(error: &Error) -> CallToolResult {
    let problem = error.problem();
    if crate::api::error::status_of(&problem.code).is_server_error() {
        tracing::error!(code = problem.code, "{problem}");
    }
    CallToolResult::structured_error(json!(problem))
}

/// A call of something that is not there is an error of the protocol, not of a tool.
fn unknown(agent: &Agent, name: &str) -> ErrorData {
    // The registry's own words, though a graph could have been meant.
    let problem = match agent.check_call(name, &Value::Null) {
        Err(error) => error.problem(),
        Ok(()) => Error::NotOffered(name.to_owned()).problem(),
    };
    ErrorData::invalid_params(problem.message.clone(), Some(json!(problem)))
}
