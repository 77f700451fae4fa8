//! A reader of an event stream on a connection.

use std::collections::VecDeque;

use super::Deadline;
use super::event_stream::Decoder;
use super::http::{Body, Response};

pub(crate) use super::event_stream::Message;

impl Message {
    pub(crate) fn is_line(&self) -> bool {
        self.event.is_empty()
    }

    /// The data of the message as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns whether the message is a `state` event of that name.
    pub(crate) fn is_state(&self, state: &str) -> bool {
        self.event == "state" && self.json()["state"] == state
    }

    /// The number in the id of the message.
    pub(crate) fn number(&self) -> u64 {
        self.id
            .rsplit_once('-')
            .and_then(|(_, number)| number.parse().ok())
            .unwrap_or_else(|| panic!("no number: {self:?}"))
    }
}

/// The data of the lines among messages.
pub(crate) fn lines(messages: &[Message]) -> Vec<&str> {
    messages.iter().filter(|message| message.is_line()).map(|message| message.data.as_str()).collect()
}

/// Reads an event stream from a connection.
#[derive(Debug)]
pub(crate) struct Reader {
    body: Body,
    decoder: Decoder,
    /// The last messages that were returned, for the failure report.
    seen: VecDeque<Message>,
}

/// The number of messages that a failure report shows.
const SHOWN: usize = 30;

impl Reader {
    pub(crate) fn new(response: Response) -> Self {
        assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body.all()));
        assert_eq!(response.header("content-type"), "text/event-stream");
        Self { body: response.body, decoder: Decoder::default(), seen: VecDeque::new() }
    }

    /// The next message; `None` at the body's proper end.
    fn next_by(&mut self, deadline: Deadline) -> Option<Message> {
        while self.decoder.ready.is_empty() {
            match self.body.some(deadline) {
                Ok(Some(bytes)) => self.decoder.push(&bytes),
                Ok(None) => return None,
                Err(error) => panic!("{error}; seen before: {:#?}", self.seen),
            }
        }
        let message = self.decoder.ready.pop_front()?;
        if self.seen.len() == SHOWN {
            self.seen.pop_front();
        }
        self.seen.push_back(message.clone());
        Some(message)
    }

    /// The next `count` lines. State events may come between them, but neither a gap nor a loss.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Message> {
        self.take_by(Deadline::new(), count)
    }

    pub(crate) fn take_by(&mut self, deadline: Deadline, count: usize) -> Vec<Message> {
        let mut lines = Vec::new();
        while lines.len() < count {
            let message = self
                .next_by(deadline)
                .unwrap_or_else(|| panic!("{} of {count} lines, then the end: {:#?}", lines.len(), self.seen));
            assert!(!matches!(message.event.as_str(), "gap" | "loss"), "{message:?} behind {lines:#?}");
            if message.is_line() {
                lines.push(message);
            }
        }
        lines
    }

    /// All messages up to and including the first for which `is_last` is true.
    pub(crate) fn until(&mut self, what: &str, is_last: impl FnMut(&Message) -> bool) -> Vec<Message> {
        self.until_by(Deadline::new(), what, is_last)
    }

    pub(crate) fn until_by(
        &mut self,
        deadline: Deadline,
        what: &str,
        mut is_last: impl FnMut(&Message) -> bool,
    ) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            let message =
                self.next_by(deadline).unwrap_or_else(|| panic!("the end instead of {what}: {:#?}", self.seen));
            let last = is_last(&message);
            all.push(message);
            if last {
                return all;
            }
        }
    }

    /// All messages up to the end of the body.
    pub(crate) fn until_end(&mut self) -> Vec<Message> {
        let deadline = Deadline::new();
        std::iter::from_fn(|| self.next_by(deadline)).collect()
    }

    /// All messages up to the end of the body, and the wait in milliseconds that was requested last.
    pub(crate) fn until_end_with_retry(mut self) -> (Vec<Message>, Option<u64>) {
        (self.until_end(), self.decoder.retry)
    }

    /// All messages up to the end of the body, or up to the point at which it was cut.
    pub(crate) fn until_cut(&mut self) -> Vec<Message> {
        let deadline = Deadline::new();
        while let Ok(Some(bytes)) = self.body.some(deadline) {
            self.decoder.push(&bytes);
        }
        assert!(deadline.left().is_some(), "neither an end nor a cut in time");
        self.decoder.ready.drain(..).collect()
    }

    /// The messages received so far, after one more read from the connection.
    pub(crate) fn some(&mut self) -> Vec<Message> {
        if let Ok(Some(bytes)) = self.body.some(Deadline::new()) {
            self.decoder.push(&bytes);
        }
        self.decoder.ready.drain(..).collect()
    }

    /// The id that a browser would send when it reconnects.
    pub(crate) fn last_id(&self) -> &str {
        &self.decoder.last_id
    }

    /// The wait before a reconnection that the body asked for, in milliseconds.
    pub(crate) fn retry(&self) -> Option<u64> {
        self.decoder.retry
    }
}
