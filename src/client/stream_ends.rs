//! The ends of the streams that `rtlogd follow` prints, from which its exit code follows.

use std::cell::RefCell;

use tokio_util::sync::CancellationToken;

/// The exit codes of the followed streams.
#[derive(Debug)]
pub(super) struct StreamEnds {
    /// The exit code of each stream that has ended; `None` for those that have not, or that were started again.
    codes: RefCell<Vec<Option<u8>>>,
    /// Cancelled once all streams have ended.
    pub(super) all: CancellationToken,
}

impl StreamEnds {
    /// The ends of this many streams, none of which has ended.
    pub(super) fn of(streams: usize) -> Self {
        Self { codes: RefCell::new(vec![None; streams]), all: CancellationToken::new() }
    }

    /// Records that a stream has ended, or continues.
    pub(super) fn set(&self, stream: usize, code: Option<u8>) {
        let mut codes = self.codes.borrow_mut();
        codes[stream] = code;
        if codes.iter().all(Option::is_some) {
            self.all.cancel();
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        self.codes.borrow().iter().flatten().copied().find(|code| *code != 0).unwrap_or(0)
    }
}
