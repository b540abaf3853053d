//! The answer's body: passed on piece by piece, untouched, while the flight looks on.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::flight::{End, Flight};

/// Why an answer broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// An answer of the proxy's own, or a backend's.
#[derive(Debug)]
pub enum ProxyBody {
    /// Our own words.
    Own(Full<Bytes>),
    /// A backend's.
    Passed(Box<Passed>),
}

/// A backend's answer on its way to the client.
#[derive(Debug)]
pub struct Passed {
    inner: Incoming,
    flight: Option<Flight>,
    idle_timeout: Duration,
    last_frame: Instant,
    idle: Pin<Box<Sleep>>,
}

impl ProxyBody {
    /// Our own words.
    pub fn own(text: impl Into<Bytes>) -> Self {
        Self::Own(Full::new(text.into()))
    }

    /// Passes `inner` on; more than `idle_timeout` of silence breaks it.
    pub fn passed(inner: Incoming, flight: Flight, idle_timeout: Duration) -> Self {
        let now = Instant::now();
        let idle = Box::pin(tokio::time::sleep_until(now + idle_timeout));
        let flight = Some(flight);
        let mut passed = Passed { inner, flight, idle_timeout, last_frame: now, idle };
        // hyper does not poll a body that says it is over.
        if passed.inner.is_end_stream() {
            passed.end(End::Whole);
        }
        Self::Passed(Box::new(passed))
    }
}

impl Passed {
    fn end(&mut self, end: End) {
        if let Some(mut flight) = self.flight.take() {
            flight.ended(end);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.last_frame = Instant::now();
                if let (Some(flight), Some(bytes)) = (&mut self.flight, frame.data_ref()) {
                    flight.passed(bytes);
                }
                if self.inner.is_end_stream() {
                    self.end(End::Whole);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.end(End::Broken);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.end(End::Whole);
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.poll_silence(cx));
                self.end(End::Broken);
                Poll::Ready(Some(Err("the backend fell silent".into())))
            }
        }
    }

    /// Ready once the silence has lasted too long. The timer is not moved with each frame, which would cost more
    /// than the frame: when it rings too early it is set again.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.idle.as_mut().poll(cx));
            let until = self.last_frame + self.idle_timeout;
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            self.idle.as_mut().reset(until);
        }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Passed(passed) => passed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(full) => full.is_end_stream(),
            Self::Passed(passed) => passed.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(full) => full.size_hint(),
            Self::Passed(passed) => passed.inner.size_hint(),
        }
    }
}
