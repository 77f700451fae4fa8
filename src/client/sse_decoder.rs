//! A decoder that cuts an event stream into messages (HTML, section 9.2.6), limited to the features that rtlogd uses.

/// Maximum size of a message, in bytes: the JSON of the longest line with every byte escaped, twice over.
const MAX_SSE_MESSAGE_SIZE: usize = 4 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ParsedSseMessage {
    /// The event name; empty for a line.
    pub(super) event: String,
    pub(super) data: String,
}

/// A decoder from bytes to messages, which keeps the position for a reconnect.
#[derive(Debug, Default)]
pub(super) struct SseDecoder {
    rest: Vec<u8>,
    id: String,
    message: ParsedSseMessage,
    /// The value of `Last-Event-ID` for a reconnect; empty before the first id.
    pub(super) last_id: String,
    /// The delay before a reconnect, in milliseconds.
    pub(super) retry: Option<u64>,
}

impl SseDecoder {
    /// Passes each message that `bytes` completes to `sink`. The position is already after the message when `sink` is
    /// called.
    ///
    /// # Errors
    /// If a message is longer than any message of the daemon.
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

    /// Discards the incomplete message of a broken connection; the position is kept.
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
            // The line is a comment, or a field that a later version of the daemon adds.
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
