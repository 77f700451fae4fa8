//! The copy of a process's output on the output of rtlogd.

use std::fmt;
use std::future::pending;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Copies the output of a process, byte for byte, to the output of rtlogd.
pub(crate) struct Tee {
    /// The copies of standard output and standard error; `None` once writing failed.
    outs: [Option<TeeOutput>; 2],
    /// Ready when the copy of standard output has no reader any more; `None` after that, or if it is not known.
    reader_gone: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

struct TeeOutput {
    writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
    /// The bytes to be written, from index `at` on; at most those of one turn of the pipes.
    waiting: Vec<u8>,
    at: usize,
}

impl Tee {
    /// Copies standard output to `out`, and standard error to `err`.
    pub(crate) fn new(
        out: impl AsyncWrite + Send + Sync + Unpin + 'static,
        err: impl AsyncWrite + Send + Sync + Unpin + 'static,
    ) -> Self {
        let out = TeeOutput { writer: Box::new(out), waiting: Vec::new(), at: 0 };
        let err = TeeOutput { writer: Box::new(err), waiting: Vec::new(), at: 0 };
        Self { outs: [Some(out), Some(err)], reader_gone: None }
    }

    /// The same copies, of which the one of standard output has no reader any more when `gone` is ready.
    pub(crate) fn with_reader_gone(self, gone: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        Self { reader_gone: Some(Box::pin(gone)), ..self }
    }

    /// Waits until the copy of standard output has no reader. May be dropped at any time.
    pub(super) async fn reader_gone(tee: &mut Option<Self>) {
        let Some(gone) = tee.as_mut().and_then(|tee| tee.reader_gone.as_mut()) else { return pending().await };
        gone.await;
        if let Some(tee) = tee {
            (tee.reader_gone, tee.outs[0]) = (None, None);
        }
    }

    /// Returns whether bytes are waiting to be written.
    pub(super) fn waits(&self) -> bool {
        self.outs.iter().flatten().any(|out| !out.waiting.is_empty())
    }

    pub(super) fn push(&mut self, output: usize, chunk: &[u8]) {
        if let Some(out) = &mut self.outs[output] {
            out.waiting.extend_from_slice(chunk);
        }
    }

    /// Writes all waiting bytes. Returns the outputs whose copy has no reader any more. May be dropped at any time.
    pub(super) async fn flush(&mut self) -> Vec<usize> {
        let mut broken = Vec::new();
        for (output, slot) in self.outs.iter_mut().enumerate() {
            if let Some(out) = slot
                && out.flush().await.is_err()
            {
                *slot = None;
                broken.push(output);
            }
        }
        broken
    }
}

impl TeeOutput {
    async fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        while self.at < self.waiting.len() {
            self.at += match self.writer.write(&self.waiting[self.at..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => count,
            };
        }
        self.writer.flush().await?;
        self.waiting.clear();
        self.at = 0;
        Ok(())
    }
}

impl fmt::Debug for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tee").field("waits", &self.waits()).finish_non_exhaustive()
    }
}
