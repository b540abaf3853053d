//! What was typed: every value optional, nothing resolved.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Makes LLM servers faster without ever hurting a user.
#[derive(Debug, Parser)]
#[command(name = "perf-agent", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Where runs are kept: `sqlite:PATH` or `memory:` [default: sqlite:perf-agent.db]
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<String>,
    /// Deployments, rollout and trial pace, in YAML [default: a simulated fleet]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of graphs [default: ./graphs if there, else the built-in ones]
    #[arg(long, global = true, value_name = "DIR")]
    pub graphs: Option<PathBuf>,
    /// Folder of prompts [default: ./prompts if there, else the built-in ones]
    #[arg(long, global = true, value_name = "DIR")]
    pub prompts: Option<PathBuf>,
    /// Folder of tool manifests [default: ./tools if there, else the built-in ones]
    #[arg(long, global = true, value_name = "DIR")]
    pub tools: Option<PathBuf>,
    /// Who decides: `auto` takes Groq when GROQ_API_KEY is set, else the built-in expert [default: auto]
    #[arg(long, global = true, value_enum)]
    pub model: Option<Model>,
    /// Seed of every random choice and of the simulated fleet [default: 1]
    #[arg(long, global = true)]
    pub seed: Option<u64>,
    /// How to print [default: text]
    #[arg(long, global = true, value_enum)]
    pub format: Option<Format>,
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// Groq when there is a key, else the expert.
    Auto,
    /// The built-in expert.
    Expert,
    /// Groq, or any OpenAI-compatible server at LLM_BASE_URL.
    Groq,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tune a deployment for a goal in plain words and roll the change out safely
    Optimize(Optimize),
    /// Run a graph
    Run(Run),
    /// Answer a waiting run, or go on with one that was cut off
    Resume(Resume),
    /// Look at runs
    Threads {
        /// What to look at.
        #[command(subcommand)]
        command: Threads,
    },
    /// Check, test and draw graph files
    Graph {
        /// What to do.
        #[command(subcommand)]
        command: Graph,
    },
    /// List and call tools
    Tools {
        /// What to do.
        #[command(subcommand)]
        command: Tools,
    },
    /// The HTTP API: on this machine; with keys, for others too
    Serve(Serve),
    /// The Model Context Protocol on stdin and stdout, for a client that starts this command
    Mcp(Mcp),
    /// Keys of the HTTP API; a server that runs has them under `/keys`
    Keys {
        /// What to do.
        #[command(subcommand)]
        command: Keys,
    },
    /// The data plane: a weighted, sticky, streaming reverse proxy
    Proxy(Proxy),
    /// One simulated engine as a server: vLLM's paths, pages and answers, without a GPU
    Simulate(Simulate),
    /// Put open-loop chat load on an OpenAI-compatible server and print what its clients saw
    Load(Load),
    /// Start what the config file declares on this host: servers, proxy, table; what runs is left alone
    Up,
    /// End it again: proxies once their streams have ended, then the servers
    Down,
    /// Look after the file that keeps every run
    Store {
        /// What to do.
        #[command(subcommand)]
        command: Store,
    },
    /// Say what is there: key, model, GPUs, engines, store
    Doctor,
}

/// `optimize`.
#[derive(Debug, Args)]
pub struct Optimize {
    /// For example: "p95 TTFT under 300 ms, no less throughput"
    pub goal: String,
    /// Deployment; needed when there is more than one
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Approve the rollout beforehand
    #[arg(long)]
    pub yes: bool,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Name of a graph
    pub graph: String,
    /// Its input, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub input: String,
    /// Approve production effects beforehand
    #[arg(long)]
    pub yes: bool,
}

/// `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// The thread
    pub thread: String,
    /// The answer, JSON; left out: go on with a run that was cut off, failed or is held
    #[arg(long, value_name = "JSON")]
    pub answer: Option<String>,
}

/// `threads`.
#[derive(Debug, Subcommand)]
pub enum Threads {
    /// The newest runs
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// One run: its report, or its open question
    Show {
        /// The thread
        thread: String,
    },
    /// Every superstep of a run
    History {
        /// The thread
        thread: String,
    },
    /// Go on from any checkpoint on a new thread; nothing that had finished runs again
    Fork {
        /// The thread
        thread: String,
        /// The checkpoint, see `threads history` [default: the newest]
        #[arg(long, value_name = "SEQ")]
        at: Option<u64>,
    },
    /// Set a thread back to a checkpoint; its history stays
    Rewind {
        /// The thread
        thread: String,
        /// The checkpoint
        #[arg(long, value_name = "SEQ")]
        to: u64,
    },
    /// Copy a thread
    Copy {
        /// The thread
        thread: String,
    },
    /// Compare two threads, or two checkpoints: THREAD or THREAD@SEQ
    Diff {
        /// One
        left: String,
        /// The other
        right: String,
    },
    /// Change the state of a thread that is not at work; `resume` lets it go on
    Update {
        /// The thread
        thread: String,
        /// Channels and what is written to them, a JSON object
        #[arg(long, value_name = "JSON", default_value = "{}")]
        values: String,
        /// The node that is taken to have written it: the run goes on behind it
        #[arg(long, value_name = "NODE")]
        as_node: Option<String>,
        /// Where the run goes on instead
        #[arg(long, value_name = "NODE")]
        goto: Vec<String>,
    },
    /// Cancel a run; what it said and what had finished stays
    Cancel {
        /// The thread
        thread: String,
        /// The run, queued or going on [default: the one that goes on]
        #[arg(long)]
        run: Option<String>,
    },
    /// Move threads to the present version of their graph; without --go, say what that would do
    Migrate {
        /// Name of the graph
        graph: String,
        /// One thread [default: every thread of that graph]
        #[arg(long, value_name = "THREAD")]
        thread: Option<String>,
        /// Do it
        #[arg(long)]
        go: bool,
    },
    /// Forget old checkpoints
    Prune {
        /// The thread
        thread: String,
        /// How many of the newest stay
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        keep: u64,
    },
    /// Forget a thread
    Delete {
        /// The thread
        thread: String,
    },
}

/// `graph`.
#[derive(Debug, Subcommand)]
pub enum Graph {
    /// Check files, every finding at once
    Check {
        /// Graph files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run the `tests` of graph files: scripted answers, expected path and output
    Test {
        /// Graph files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Draw a graph
    Show {
        /// Name of a graph, or a file
        graph: String,
        /// How
        #[arg(long, value_enum, default_value_t = Drawing::Ascii)]
        drawing: Drawing,
    },
    /// Print the JSON Schema of graph files, for editors
    Schema,
}

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Drawing {
    /// Lines of text.
    Ascii,
    /// Mermaid.
    Mermaid,
    /// SVG that needs nothing else.
    Svg,
}

/// `tools`.
#[derive(Debug, Subcommand)]
pub enum Tools {
    /// Every tool, what it may change, what it needs
    List,
    /// Print the JSON Schemas of a tool
    Schema {
        /// The tool
        tool: String,
    },
    /// Call a tool
    Call {
        /// The tool
        tool: String,
        /// Its arguments, a JSON object
        #[arg(default_value = "{}")]
        args: String,
        /// Consent to an effect on users
        #[arg(long)]
        yes: bool,
    },
}

/// `store`.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Read every page and row and say what is not as it was written; exit 1 if anything is not
    Check,
    /// What is in it, and how much room that takes
    Stats,
    /// Forget what the config's retention does not keep, and give the room back to the disk
    Vacuum,
    /// Write a checked copy of one moment, also while a server runs
    Backup {
        /// File to write; must not exist
        to: PathBuf,
    },
}

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 8002)]
    pub port: u16,
    /// Address of this machine; one that others could reach needs keys
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub host: std::net::IpAddr,
    /// Offer MCP clients the tools that change something too; those that touch users need consent all the same
    #[arg(long)]
    pub mcp_effects: bool,
    /// Certificate chain, PEM: speaks HTTPS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Origin whose pages may call, such as https://chat.example.org; again for more
    #[arg(long, value_name = "ORIGIN")]
    pub cors_origin: Vec<String>,
    /// Requests per second and key; twice that at once
    #[arg(long, value_name = "RPS", default_value_t = 100.0)]
    pub rate_limit: f64,
    /// File that every write is noted in [default: beside the store]
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
}

/// `mcp`.
#[derive(Debug, Args)]
pub struct Mcp {
    /// Offer the tools that change something too; those that touch users need consent all the same
    #[arg(long)]
    pub mcp_effects: bool,
    /// Consent beforehand to effects on users
    #[arg(long)]
    pub yes: bool,
}

/// `keys`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a key and print its secret, once
    Create {
        /// Who or what it is for
        name: String,
        /// What it allows: read, operate, approve, admin; several with commas
        #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPES")]
        scope: Vec<crate::api::Scope>,
    },
    /// Every key, without its secret
    List,
    /// Revoke a key
    Revoke {
        /// Id of the key
        id: String,
    },
}

/// `proxy`.
#[derive(Debug, Args)]
pub struct Proxy {
    /// Where users' requests arrive
    #[arg(long, default_value = "127.0.0.1:8001")]
    pub listen: std::net::SocketAddr,
    /// Unix socket of the control interface
    #[arg(long)]
    pub control: PathBuf,
    /// File that keeps the table over restarts
    #[arg(long)]
    pub state: PathBuf,
}

/// `simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// Port on this machine; 0 takes any that is free
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// Simulated seconds per second: above 1, every wait is shorter
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.001..=1000.0).contains(speed));
    speed.ok_or_else(|| "expected a number in 0.001 to 1000".to_owned())
}

/// `load`.
#[derive(Debug, Args)]
pub struct Load {
    /// Base URL: `http://127.0.0.1:8001`
    pub url: String,
    /// Name of the served model
    #[arg(long)]
    pub served_model: String,
    /// Requests per second
    #[arg(long)]
    pub rate: f64,
    /// Measured time [s]
    #[arg(long, default_value_t = 60.0)]
    pub duration_s: f64,
    /// Left out at the start [s]
    #[arg(long, default_value_t = 5.0)]
    pub warmup_s: f64,
    /// Mean prompt [tokens]
    #[arg(long, default_value_t = 350.0)]
    pub input_tokens: f64,
    /// Share of the prompt that all requests have in common, 0–1
    #[arg(long, default_value_t = 0.0)]
    pub shared_prefix_ratio: f64,
    /// Mean answer [tokens]
    #[arg(long, default_value_t = 64.0)]
    pub output_tokens: f64,
    /// Longest wait for an answer; then it counts as failed or cut [s]
    #[arg(long, default_value_t = 120.0)]
    pub timeout_s: f64,
    /// TTFT that counts as good [ms]
    #[arg(long, default_value_t = 1000.0)]
    pub slo_ttft_ms: f64,
    /// TPOT that counts as good [ms]
    #[arg(long, default_value_t = 100.0)]
    pub slo_tpot_ms: f64,
    /// Allow a server that is not on this machine
    #[arg(long)]
    pub allow_remote: bool,
}
