//! Keeps the key out of everything that is read from a stream, the logs of the crates below us included.

use async_openai::config::Config;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use secrecy::ExposeSecret;

use super::endpoint::Endpoint;

/// Longest line of a stream [bytes]; a longer one is an attack or a fault.
const LINE_BYTES_MAX: usize = 4 << 20;

/// Passes `pieces` on line by line, with `[key]` where the server echoed the key.
///
/// A key holds no line break, so no line hides half of it. Errors pass through; a line beyond the bound is one.
pub(super) fn without_key<S, E>(
    pieces: S,
    endpoint: &Endpoint,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let lines = Lines { endpoint: endpoint.clone(), held: BytesMut::new(), over: false };
    stream::unfold((pieces, lines), |(mut pieces, mut lines)| async move {
        if lines.over {
            return None;
        }
        let piece = pieces.next().await;
        let passed = lines.pass(piece.map(|piece| piece.map_err(std::io::Error::other)));
        Some((passed, (pieces, lines)))
    })
}

struct Lines {
    endpoint: Endpoint,
    /// The line that has not ended yet.
    held: BytesMut,
    over: bool,
}

impl Lines {
    /// What may go on after `piece`: all lines that are whole, or at the end what is left.
    fn pass(&mut self, piece: Option<std::io::Result<Bytes>>) -> std::io::Result<Bytes> {
        let piece = match piece {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => {
                self.over = true;
                return Err(error);
            }
            None => {
                self.over = true;
                let rest = self.held.split();
                return Ok(self.redacted(&rest));
            }
        };
        self.held.extend_from_slice(&piece);
        let whole = match piece.iter().rposition(|byte| *byte == b'\n') {
            Some(in_piece) => self.held.len() - piece.len() + in_piece + 1,
            None => 0,
        };
        let lines = self.held.split_to(whole);
        if self.held.len() > LINE_BYTES_MAX {
            self.over = true;
            return Err(std::io::Error::other("a line of the stream does not end"));
        }
        Ok(self.redacted(&lines))
    }

    fn redacted(&self, lines: &[u8]) -> Bytes {
        let key = self.endpoint.api_key().expose_secret().as_bytes();
        if key.is_empty() || key.len() > lines.len() {
            return Bytes::copy_from_slice(lines);
        }
        let mut out = BytesMut::with_capacity(lines.len());
        let mut rest = lines;
        while let Some(at) = rest.windows(key.len()).position(|window| window == key) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(b"[key]");
            rest = &rest[at + key.len()..];
        }
        out.extend_from_slice(rest);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(key: &str, text: &str, cut: usize) -> String {
        let endpoint = Endpoint::new("http://h", key.into());
        let pieces: Vec<std::io::Result<Bytes>> =
            text.as_bytes().chunks(cut).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let passed = without_key(stream::iter(pieces), &endpoint);
        let out = futures::executor::block_on(passed.map(Result::unwrap).collect::<Vec<_>>());
        String::from_utf8(out.concat()).unwrap()
    }

    proptest! {
        #[test]
        fn the_key_is_cut_however_the_stream_is(before in "[a-z\n]{0,9}", cut in 1_usize..20) {
            let text = format!("{before}gsk_1 and gsk_1\n\nend gsk_1");
            let expected = text.replace("gsk_1", "[key]");
            prop_assert_eq!(through("gsk_1", &text, cut), expected);
        }

        #[test]
        fn everything_else_passes_unchanged(text in "[a-zé\r\n]{0,60}", cut in 1_usize..9) {
            prop_assert_eq!(through("gsk_1", &text, cut), text.clone());
            prop_assert_eq!(through("", &text, cut), text);
        }
    }

    #[test]
    fn a_line_without_an_end_is_an_error() {
        let endpoint = Endpoint::new("http://h", "".into());
        let piece = || Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; LINE_BYTES_MAX / 2 + 1]));
        let passed = without_key(stream::iter([piece(), piece(), piece()]), &endpoint);
        let out = futures::executor::block_on(passed.collect::<Vec<_>>());
        assert!(out.last().unwrap().is_err());
        assert_eq!(out.len(), 2);
    }
}
