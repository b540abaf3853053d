//! The server: takes connections on this machine, leaves without cutting a superstep.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::langgraph::Register;
use super::metrics::Metrics;
use super::orchestrator::{Keeper, OrchestratorOptions};
use super::security::{self, Security, SecurityOptions};
use super::state::App;
use super::{Error, McpAccess, connections, langgraph, mcp, router, seed};
use crate::agent::{self, Agent, Drivers};
use crate::base::{Clock, SystemClock};

/// Longest wait for supersteps and answers after the shutdown began.
const DRAIN: Duration = Duration::from_secs(30);

/// What a server is told when it starts.
#[derive(Clone)]
pub struct ServerOptions {
    /// Where it listens; where others could reach it there must be keys.
    pub listen: SocketAddr,
    /// Text of the config file the agent was assembled from; kept with every run.
    pub config: Option<String>,
    /// What MCP clients may do.
    pub mcp: McpAccess,
    /// Keys, limits, TLS, the audit log.
    pub security: SecurityOptions,
}

/// A server that holds its address and has not begun to answer.
pub struct Server {
    listener: TcpListener,
    listen: SocketAddr,
    tls: Option<TlsAcceptor>,
    keyed: bool,
    app: App,
    crons: JoinHandle<()>,
    orchestrator: Option<OrchestratorOptions>,
}

impl Server {
    /// Takes the address, and goes on with the runs that an earlier server of this store left unfinished.
    ///
    /// Errors: [`Error::NotLoopback`], [`Error::Listen`], [`Error::Tls`], [`Error::Audit`]; a store that fails.
    pub async fn bind(agent: Agent, options: ServerOptions) -> Result<Self, Error> {
        let tls = options.security.tls.as_ref().map(security::acceptor).transpose()?;
        let security = Security::open(&agent, options.security).await?;
        let keyed = security.is_keyed();
        if !options.listen.ip().is_loopback() && !keyed {
            return Err(Error::NotLoopback(options.listen));
        }
        security::forget_old(&agent, security.clock.now()).await?;
        let taken = |source| Error::Listen { listen: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(taken)?;
        let listen = listener.local_addr().map_err(taken)?;
        // Before any run goes on: it may need them.
        agent.take_up_deployments(&security.reach).await?;
        let drivers = Drivers::start(agent).await?;
        let config: Option<Arc<str>> = options.config.map(Into::into);
        let app = App {
            mcp: mcp::service(drivers.clone(), options.mcp, config.clone()),
            drivers,
            metrics: Arc::new(Metrics::default()),
            register: Arc::new(Register::new()),
            security: Arc::new(security),
            config,
            started: SystemClock.now(),
            standing: Arc::default(),
            tasks: Arc::default(),
            listen,
            computed: Arc::default(),
            work: TaskTracker::new(),
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        app.register.set_url(format!("{scheme}://{listen}"));
        langgraph::keep_own(app.agent()).await.map_err(agent::Error::Run)?;
        langgraph::take_up(&app).await;
        seed::take_up(&app).await;
        let crons = tokio::spawn(langgraph::watch_crons(app.clone()));
        Ok(Self { listener, listen, tls, keyed, app, crons, orchestrator: None })
    }

    /// The same server, reporting to an orchestrator while it serves.
    #[must_use]
    pub fn reporting_to(self, orchestrator: OrchestratorOptions) -> Self {
        Self { orchestrator: Some(orchestrator), ..self }
    }

    /// Whether callers need a key.
    pub fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Answers until `shutdown`. Then it takes no new connection, every run stops at a superstep boundary, those who
    /// wait for one are told, and it returns when all answers are out.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { listener, tls, app, crons, orchestrator, .. } = self;
        let (router, drivers) = (router::service(app.clone()), app.drivers.clone());
        let register = app.register.clone();
        let (work, connections) = (app.work.clone(), app.security.limits.connections);
        let keeper = orchestrator.and_then(|options| Keeper::start(app, &options));
        let closing = CancellationToken::new();
        let serving = connections::serve(listener, tls, router, connections, closing.clone());
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            // It ends only when it is told to.
            () = &mut serving => return Ok(()),
            () = shutdown => {}
        }
        // First of all, so that no work is sent here any more.
        if let Some(keeper) = keeper {
            keeper.leave().await;
        }
        closing.cancel();
        let answers = tokio::time::timeout(DRAIN, serving);
        let (left, answered) = tokio::join!(drivers.drain(DRAIN), answers);
        // Nobody begins any more. What was begun writes down how far it came.
        work.close();
        let worked = tokio::time::timeout(DRAIN, work.wait()).await;
        if left > 0 || answered.is_err() || worked.is_err() {
            tracing::error!(
                runs = left,
                "the drain ended before all work did; runs resume from their last checkpoint"
            );
        }
        // These hold the store: whoever comes next must find it free.
        register.quiet(DRAIN).await;
        if crons.await.is_err() {
            tracing::error!("the watch over crons ended in a panic");
        }
        Ok(())
    }
}
