//! A decoder that reads an event stream as a browser does. It is written from the standard (HTML, section 9.2.6),
//! without reconnection.

use std::collections::VecDeque;

/// One message as a browser dispatches it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    pub(crate) id: String,
    /// The name of the event; empty for a message without a name, which is a line.
    pub(crate) event: String,
    pub(crate) data: String,
}

/// Decodes bytes into messages.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    rest: Vec<u8>,
    event: String,
    data: String,
    id: String,
    /// The id that a reconnect would send.
    pub(crate) last_id: String,
    /// The requested wait before a reconnection, in milliseconds.
    pub(crate) retry: Option<u64>,
    /// Messages that were received and not taken yet.
    pub(crate) ready: VecDeque<Message>,
}

impl Decoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(length) = self.rest[begin..].iter().position(|c| matches!(c, b'\r' | b'\n')) {
            let end = begin + length;
            let pair = self.rest[end] == b'\r';
            if pair && end + 1 == self.rest.len() {
                break;
            }
            let line = String::from_utf8_lossy(&self.rest[begin..end]).into_owned();
            begin = end + if pair && self.rest[end + 1] == b'\n' { 2 } else { 1 };
            self.line(&line);
        }
        self.rest.drain(..begin);
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            self.last_id.clone_from(&self.id);
            let event = std::mem::take(&mut self.event);
            let mut data = std::mem::take(&mut self.data);
            if data.pop().is_some() {
                self.ready.push_back(Message { id: self.last_id.clone(), event, data });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data += value;
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" => self.retry = value.parse().ok(),
            "" | "id" => {}
            other => panic!("the daemon sends no such field: {other:?}"),
        }
    }
}
