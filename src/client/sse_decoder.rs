//! An event stream as it comes, cut into messages (HTML, section 9.2.6): as much of it as our own daemon sends.

/// Longest message, in bytes: JSON of the longest line, every byte of it escaped, twice over.
const MAX_SSE_MESSAGE_SIZE: usize = 4 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ParsedSseMessage {
    /// Its name; empty for a line.
    pub(super) event: String,
    pub(super) data: String,
}

/// Bytes to messages, and the place to come back to.
#[derive(Debug, Default)]
pub(super) struct SseDecoder {
    rest: Vec<u8>,
    id: String,
    message: ParsedSseMessage,
    /// What to send as `Last-Event-ID`; empty if there is nothing yet.
    pub(super) last_id: String,
    /// The wait before connecting again, in milliseconds.
    pub(super) retry: Option<u64>,
}

impl SseDecoder {
    /// Gives `sink` each message that `bytes` completes. The place has moved past it when `sink` is called.
    ///
    /// # Errors
    /// If a message is longer than any the daemon sends.
    pub(super) fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(ParsedSseMessage)) -> Result<(), String> {
        let searched = self.rest.len();
        self.rest.extend_from_slice(bytes);
        let mut begin = 0;
        let mut from = searched;
        while let Some(at) = self.rest.get(from..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let end = from + at;
            let line = String::from_utf8_lossy(self.rest.get(begin..end).unwrap_or_default()).into_owned();
            (begin, from) = (end + 1, end + 1);
            if let Some(message) = self.process_line(&line) {
                sink(message);
            }
        }
        self.rest.drain(..begin);
        if self.rest.len() + self.message.data.len() > MAX_SSE_MESSAGE_SIZE {
            return Err(format!("a message of more than {MAX_SSE_MESSAGE_SIZE} bytes"));
        }
        Ok(())
    }

    /// What was begun on a connection that broke is forgotten; the place stays.
    pub(super) fn reconnect(&mut self) {
        self.rest.clear();
        self.id.clone_from(&self.last_id);
        self.message = ParsedSseMessage::default();
    }

    fn process_line(&mut self, line: &str) -> Option<ParsedSseMessage> {
        if line.is_empty() {
            self.last_id.clone_from(&self.id);
            let message = std::mem::take(&mut self.message);
            return (!message.data.is_empty()).then_some(message);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.id),
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                if !self.message.data.is_empty() {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            "retry" => self.retry = value.parse().ok(),
            // A comment, or what a later daemon says besides.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_same_wherever_the_bytes_are_cut() {
        let text = "retry: 1500\n\nid: a-1\ndata: {\"x\":1}\n\n:\n\nid: a-2\nevent: end\ndata: {}\n\nid: a-9\n\nid: a-10\ndata: cut";
        for step in 1..text.len() {
            let mut decoder = SseDecoder::default();
            let mut seen = Vec::new();
            for piece in text.as_bytes().chunks(step) {
                decoder.push(piece, |message| seen.push(message)).unwrap();
            }
            let message = |event: &str, data: &str| ParsedSseMessage { event: event.into(), data: data.into() };
            assert_eq!(seen, [message("", "{\"x\":1}"), message("end", "{}")], "in steps of {step}");
            assert_eq!((decoder.last_id.as_str(), decoder.retry), ("a-9", Some(1500)));
            decoder.reconnect();
            decoder.push(b"data: new\n\n", |message| seen.push(message)).unwrap();
            assert_eq!(seen.pop(), Some(message("", "new")));
        }
        assert!(SseDecoder::default().push(&vec![b'x'; MAX_SSE_MESSAGE_SIZE + 1], drop).is_err());
    }
}
