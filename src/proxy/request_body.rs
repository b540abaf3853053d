//! The request's body: read when it is small enough to be looked into and sent twice, else streamed through.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// What is sent to a backend.
#[derive(Debug)]
pub enum RequestBody {
    /// All of it is here; it can be sent again.
    Whole(Full<Bytes>),
    /// What was read so far, and the rest as it comes. Can be sent once.
    Streamed {
        /// Read so far.
        head: VecDeque<Bytes>,
        /// To come.
        rest: Incoming,
    },
}

/// A body after it was looked at.
#[derive(Debug)]
pub enum Read {
    /// All of it.
    Whole(Bytes),
    /// Too large, or not meant to be read.
    Streamed(RequestBody),
}

/// Reads `body` up to `limit` [bytes].
///
/// Errors: when the client broke off.
pub async fn read(mut body: Incoming, limit: usize) -> Result<Read, hyper::Error> {
    if body.size_hint().lower() > limit as u64 {
        return Ok(unread(body));
    }
    let mut frames = VecDeque::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        // Trailers of a request mean nothing to an engine.
        let Ok(bytes) = frame?.into_data() else { continue };
        length += bytes.len();
        frames.push_back(bytes);
        if length > limit {
            return Ok(Read::Streamed(RequestBody::Streamed { head: frames, rest: body }));
        }
    }
    if frames.len() <= 1 {
        return Ok(Read::Whole(frames.pop_front().unwrap_or_default()));
    }
    let mut whole = BytesMut::with_capacity(length);
    frames.iter().for_each(|bytes| whole.extend_from_slice(bytes));
    Ok(Read::Whole(whole.freeze()))
}

/// A body that is not looked into.
pub fn unread(body: Incoming) -> Read {
    if body.is_end_stream() {
        return Read::Whole(Bytes::new());
    }
    Read::Streamed(RequestBody::Streamed { head: VecDeque::new(), rest: body })
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Whole(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Streamed { head, rest } => match head.pop_front() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Pin::new(rest).poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(full) => full.is_end_stream(),
            Self::Streamed { head, rest } => head.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(full) => full.size_hint(),
            // The client's own content-length header, if any, goes along.
            Self::Streamed { .. } => SizeHint::default(),
        }
    }
}
