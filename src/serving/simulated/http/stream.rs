//! An answer under way: its events as they come, and the end of it when its client leaves.

use std::io;

use axum::Json;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::answer::Answer;
use super::drive::Command;
use super::engine::Event;
use super::failure::Failure;

/// Takes its request out of the engine when it is dropped: the client left, or everything was said.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) id: u64,
    pub(super) commands: UnboundedSender<Command>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // An engine that is gone holds nothing.
        let _ = self.commands.send(Command::Abort(self.id));
    }
}

/// A request in the engine, with its client's end.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) events: UnboundedReceiver<Event>,
    pub(super) answer: Answer,
    /// Held for what its end does.
    pub(super) _ticket: Ticket,
}

impl UnderWay {
    /// Waits until the engine has taken the request.
    ///
    /// Errors: 503 when it has no room, 500 when it is gone.
    pub(super) async fn admitted(&mut self) -> Result<(), Failure> {
        match self.events.recv().await {
            Some(Event::Refused) => Err(Failure::queue_full()),
            Some(_) => Ok(()),
            None => Err(Failure::engine_gone()),
        }
    }

    /// The answer token by token.
    pub(super) fn streamed(self) -> Response {
        let events = stream::unfold(Some(self), |under_way| async {
            let mut under_way = under_way?;
            match under_way.next().await {
                Ok((text, false)) => Some((Ok(Bytes::from(text)), Some(under_way))),
                Ok((text, true)) => Some((Ok(Bytes::from(text)), None)),
                Err(error) => Some((Err(error), None)),
            }
        });
        let kind = (header::CONTENT_TYPE, "text/event-stream; charset=utf-8");
        ([kind, (header::CACHE_CONTROL, "no-cache")], Body::from_stream(events)).into_response()
    }

    /// The next text of a stream, and whether it is the last.
    async fn next(&mut self) -> io::Result<(String, bool)> {
        loop {
            match self.events.recv().await {
                Some(Event::Admitted) => {}
                Some(Event::Token) => return Ok((self.answer.token(), false)),
                Some(Event::Done { reason, cached_tokens }) => {
                    return Ok((self.answer.end(reason, cached_tokens), true));
                }
                // Breaks the connection off, so that nobody takes this for the end.
                Some(Event::Refused) | None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
    }

    /// The answer once it is whole.
    ///
    /// Errors: 500 when the engine is gone before.
    pub(super) async fn whole(mut self) -> Result<Response, Failure> {
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Token => self.answer.tokens += 1,
                Event::Done { reason, cached_tokens } => {
                    return Ok(Json(self.answer.whole(reason, cached_tokens)).into_response());
                }
                Event::Admitted | Event::Refused => {}
            }
        }
        Err(Failure::engine_gone())
    }
}
