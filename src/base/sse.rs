//! Server-sent events, read piece by piece as they come off a socket.

/// What a reader found at the end of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SseEvent<'a> {
    /// The event's `data` lines, joined by a line feed.
    Data(&'a [u8]),
    /// An event with more data than the reader keeps: it passed by unread.
    TooLong,
}

/// Splits a byte stream into events. Keeps at most `limit` bytes, whatever the other side sends.
///
/// Lines end with LF or CRLF; a lone CR, which the standard also allows, is not an end of line here.
///
/// Source: WHATWG HTML, "Server-sent events", section "Interpreting an event stream".
#[derive(Debug)]
pub struct SseReader {
    limit: usize,
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    too_long: bool,
}

impl SseReader {
    /// A reader that keeps at most `limit` [bytes] of an event.
    pub fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new(), data: Vec::new(), has_data: false, too_long: false }
    }

    /// Takes the next bytes and hands every event that they complete to `on_event`, in order.
    pub fn feed(&mut self, mut bytes: &[u8], mut on_event: impl FnMut(SseEvent<'_>)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.line.is_empty() {
                self.line_ended(line, &mut on_event);
            } else {
                // Only a line that straddles two pieces is copied before it is read.
                let mut whole = std::mem::take(&mut self.line);
                self.keep(&mut whole, line);
                self.line_ended(&whole, &mut on_event);
                whole.clear();
                self.line = whole;
            }
        }
        let mut partial = std::mem::take(&mut self.line);
        self.keep(&mut partial, bytes);
        self.line = partial;
    }

    /// Appends within the limit. What does not fit marks the event; its first bytes still say what the line is.
    fn keep(&mut self, buffer: &mut Vec<u8>, bytes: &[u8]) {
        let room = self.limit.saturating_sub(buffer.len());
        self.too_long |= bytes.len() > room;
        buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line_ended(&mut self, line: &[u8], on_event: &mut impl FnMut(SseEvent<'_>)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            self.event_ended(on_event);
        } else if let Some(value) = line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            let mut data = std::mem::take(&mut self.data);
            if self.has_data {
                self.keep(&mut data, b"\n");
            }
            self.keep(&mut data, value);
            self.data = data;
            self.has_data = true;
        }
        // Comments (`: ping`) and the fields event, id and retry mean nothing to us.
    }

    fn event_ended(&mut self, on_event: &mut impl FnMut(SseEvent<'_>)) {
        if self.too_long {
            on_event(SseEvent::TooLong);
        } else if self.has_data {
            on_event(SseEvent::Data(&self.data));
        }
        self.data.clear();
        (self.has_data, self.too_long) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(limit: usize, pieces: &[&[u8]]) -> Vec<String> {
        let mut reader = SseReader::new(limit);
        let mut events = Vec::new();
        for piece in pieces {
            reader.feed(piece, |event| {
                events.push(match event {
                    SseEvent::Data(data) => String::from_utf8_lossy(data).into_owned(),
                    SseEvent::TooLong => "<too long>".to_owned(),
                });
            });
        }
        events
    }

    #[test]
    fn comments_and_other_fields_are_skipped_and_data_lines_are_joined() {
        let text = b": ping\n\nevent: x\ndata: a\ndata:b\r\n\r\nid: 7\n\ndata: [DONE]\n\n";
        assert_eq!(read(100, &[text]), ["a\nb", "[DONE]"]);
    }

    #[test]
    fn an_event_without_its_blank_line_is_not_an_event_yet() {
        assert_eq!(read(100, &[b"data: a\n"]), Vec::<String>::new());
        assert_eq!(read(100, &[b"data: a\n", b"\n"]), ["a"]);
    }

    #[test]
    fn an_event_over_the_limit_passes_by_unread_and_the_next_one_is_read() {
        let long = format!("data: {}\n\ndata: b\n\n", "x".repeat(500));
        assert_eq!(read(64, &[long.as_bytes()]), ["<too long>", "b"]);
        let pieces: Vec<&[u8]> = long.as_bytes().chunks(7).collect();
        assert_eq!(read(64, &pieces), ["<too long>", "b"]);
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_into_pieces_does_not_matter(
            events in prop::collection::vec("[a-z{}:\" ]{1,40}", 1..8),
            size in 1_usize..50,
        ) {
            let text: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(read(1000, &pieces), events);
        }

        #[test]
        fn memory_stays_within_twice_the_limit(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'd'), any::<u8>()], 0..2000),
        ) {
            let mut reader = SseReader::new(64);
            for piece in bytes.chunks(13) {
                reader.feed(piece, |_| ());
                prop_assert!(reader.line.len() <= 64 && reader.data.len() <= 64);
            }
        }
    }
}
