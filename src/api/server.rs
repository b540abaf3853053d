//! The server: takes connections on this machine, leaves without cutting a superstep.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::langgraph::Register;
use super::metrics::Metrics;
use super::orchestrator::{Keeper, OrchestratorOptions};
use super::state::App;
use super::{Error, McpAccess, langgraph, mcp, router, seed};
use crate::agent::{self, Agent, Drivers};
use crate::base::{Clock, SystemClock};

/// Longest wait for supersteps and answers after the shutdown began.
const DRAIN: Duration = Duration::from_secs(30);

/// What a server is told when it starts.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where it listens: loopback only, because there are no keys yet.
    pub listen: SocketAddr,
    /// Text of the config file the agent was assembled from; kept with every run.
    pub config: Option<String>,
    /// What MCP clients may do.
    pub mcp: McpAccess,
}

/// A server that holds its address and has not begun to answer.
pub struct Server {
    listener: TcpListener,
    listen: SocketAddr,
    app: App,
    orchestrator: Option<OrchestratorOptions>,
}

impl Server {
    /// Takes the address, and goes on with the runs that an earlier server of this store left unfinished.
    ///
    /// Errors: [`Error::NotLoopback`], [`Error::Listen`]; a store that fails.
    pub async fn bind(agent: Agent, options: ServerOptions) -> Result<Self, Error> {
        if !options.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(options.listen));
        }
        let taken = |source| Error::Listen { listen: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(taken)?;
        let listen = listener.local_addr().map_err(taken)?;
        let drivers = Drivers::start(agent).await?;
        let config: Option<Arc<str>> = options.config.map(Into::into);
        let app = App {
            mcp: mcp::service(drivers.clone(), options.mcp, config.clone()),
            drivers,
            metrics: Arc::new(Metrics::default()),
            register: Arc::new(Register::new()),
            config,
            started: SystemClock.now(),
            standing: Arc::default(),
            tasks: Arc::default(),
            listen,
        };
        app.register.set_url(format!("http://{listen}"));
        langgraph::keep_own(app.agent()).await.map_err(agent::Error::Run)?;
        langgraph::take_up(&app).await;
        seed::take_up(&app).await;
        tokio::spawn(langgraph::watch_crons(app.clone()));
        Ok(Self { listener, listen, app, orchestrator: None })
    }

    /// The same server, reporting to an orchestrator while it serves.
    #[must_use]
    pub fn reporting_to(self, orchestrator: OrchestratorOptions) -> Self {
        Self { orchestrator: Some(orchestrator), ..self }
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Answers until `shutdown`. Then it takes no new connection, every run stops at a superstep boundary, those who
    /// wait for one are told, and it returns when all answers are out.
    ///
    /// Errors: [`Error::Listen`] when connections cannot be taken any more.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { listener, listen, app, orchestrator } = self;
        let (router, drivers) = (router::service(app.clone()), app.drivers.clone());
        let keeper = orchestrator.and_then(|options| Keeper::start(app, &options));
        let closing = CancellationToken::new();
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown(closing.clone().cancelled_owned())
            .into_future();
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended.map_err(|source| Error::Listen { listen, source }),
            () = shutdown => {}
        }
        // First of all, so that no work is sent here any more.
        if let Some(keeper) = keeper {
            keeper.leave().await;
        }
        closing.cancel();
        let answers = tokio::time::timeout(DRAIN, serving);
        let (left, answered) = tokio::join!(drivers.drain(DRAIN), answers);
        if left > 0 || answered.is_err() {
            tracing::error!(
                runs = left,
                "the drain ended before all work did; runs resume from their last checkpoint"
            );
        }
        Ok(())
    }
}
