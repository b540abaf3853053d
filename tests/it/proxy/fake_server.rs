//! An OpenAI-compatible server whose every byte the test decides.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// One thing that happens to an answer's body.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Bytes are sent.
    Send(String),
    /// The connection breaks.
    Break,
}

/// How requests are answered.
#[derive(Debug, Clone)]
pub enum Script {
    /// Status, content type and pieces, at once.
    Fixed(u16, &'static str, Vec<Piece>),
    /// A token for each time the test opens the gate; finishes after this many.
    Gated(u32),
    /// The test writes the pieces of each answer itself, through [`FakeServer::answers`].
    ByHand,
    /// Never says a word.
    Silent,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

/// A server on its own port. Stops when dropped.
pub struct FakeServer {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// Steps that gated answers may take.
    pub gate: watch::Sender<u32>,
    /// Writers of the answers that are made by hand, in order of their requests.
    pub answers: tokio::sync::Mutex<mpsc::UnboundedReceiver<mpsc::UnboundedSender<Piece>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl FakeServer {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let gate = watch::Sender::new(0);
        let (by_hand, answers) = mpsc::unbounded_channel();
        let world = World { script, seen: Arc::clone(&seen), gate: gate.clone(), by_hand };
        let accepting = tokio::spawn(accept(listener, world));
        Self { url, seen, gate, answers: tokio::sync::Mutex::new(answers), accepting }
    }

    /// Requests that arrived.
    pub fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The writer of the next answer that is made by hand.
    pub async fn next_answer(&self) -> mpsc::UnboundedSender<Piece> {
        self.answers.lock().await.recv().await.unwrap()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct World {
    script: Script,
    seen: Arc<Mutex<Vec<Seen>>>,
    gate: watch::Sender<u32>,
    by_hand: mpsc::UnboundedSender<mpsc::UnboundedSender<Piece>>,
}

async fn accept(listener: TcpListener, world: World) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let world = world.clone();
        let service = service_fn(move |request| answer(world.clone(), request));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(world: World, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::new(Answer::Never)) };
    let path = parts.uri.path().to_owned();
    let generation = path.ends_with("/completions");
    world.seen.lock().unwrap().push(Seen { path, headers: parts.headers, body: body.to_bytes() });
    if !generation {
        return Ok(Response::new(Answer::Pieces(VecDeque::new())));
    }
    let (status, kind, answer) = match world.script {
        Script::Fixed(status, kind, pieces) => (status, kind, Answer::Pieces(pieces.into())),
        Script::Gated(tokens) => {
            (200, "text/event-stream", Answer::Written(gated(world.gate.subscribe(), tokens)))
        }
        Script::ByHand => {
            let (writer, pieces) = mpsc::unbounded_channel();
            world.by_hand.send(writer).unwrap();
            (200, "text/event-stream", Answer::Written(pieces))
        }
        Script::Silent => std::future::pending().await,
    };
    let head = Response::builder().status(status).header("content-type", kind);
    Ok(head.header("x-fake", "1").body(answer).unwrap())
}

fn gated(mut gate: watch::Receiver<u32>, tokens: u32) -> mpsc::UnboundedReceiver<Piece> {
    let (writer, pieces) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        // An answer takes its steps from where the gate stands when it begins.
        let begun = *gate.borrow();
        writer.send(Piece::Send(token("a"))).unwrap();
        for step in 1..tokens {
            if gate.wait_for(|open| *open >= begun + step).await.is_err() {
                return;
            }
            if writer.send(Piece::Send(token("a"))).is_err() {
                return;
            }
        }
        let _ = writer.send(Piece::Send(stop()));
        let _ = writer.send(Piece::Send(done()));
    });
    pieces
}

enum Answer {
    Pieces(VecDeque<Piece>),
    Written(mpsc::UnboundedReceiver<Piece>),
    Never,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let piece = match self.get_mut() {
            Self::Pieces(pieces) => pieces.pop_front(),
            Self::Written(pieces) => std::task::ready!(pieces.poll_recv(cx)),
            Self::Never => return Poll::Pending,
        };
        Poll::Ready(piece.map(|piece| match piece {
            Piece::Send(text) => Ok(Frame::data(text.into())),
            Piece::Break => Err(std::io::Error::other("broken by the test")),
        }))
    }
}

/// One event with a token.
pub fn token(text: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

/// The finish reason.
pub fn stop() -> String {
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".to_owned()
}

/// The end mark.
pub fn done() -> String {
    "data: [DONE]\n\n".to_owned()
}

/// A whole answer of `tokens` tokens.
pub fn whole_answer(tokens: usize) -> Vec<Piece> {
    let mut pieces = vec![Piece::Send(token("a")); tokens];
    pieces.extend([Piece::Send(stop()), Piece::Send(done())]);
    pieces
}
