//! Calls and their results. Some calls complete at once and others later; a batch is answered when all of its calls are
//! complete.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::control::Attachment;
use crate::event::StreamName;
use crate::wire::message::{MethodResponse, RequestId, RpcError, RpcErrorCode};

/// The maximum number of commands of one channel in flight; further commands receive the error `busy`.
const MAX_REQUESTS_IN_FLIGHT: usize = 32;

/// The result of a call that succeeded.
pub(super) enum CallResult {
    Completed(MethodResponse),
    /// An attachment that the session has yet to add.
    Attached(StreamName, Attachment),
}

/// The result of a call, now or later.
pub(super) enum PendingCall {
    Ready(Result<CallResult, RpcError>),
    Pending(BoxFuture<'static, Result<CallResult, RpcError>>),
}

/// A message whose calls all have their results.
pub(super) struct FinishedMessage {
    pub(super) is_batch: bool,
    /// The results in the order of the calls. A notification has no id, and receives no reply.
    pub(super) results: Vec<(Option<RequestId>, Result<CallResult, RpcError>)>,
}

/// The permits for commands in flight.
pub(super) struct RequestPermits(Arc<Semaphore>);

impl Default for RequestPermits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_REQUESTS_IN_FLIGHT)))
    }
}

impl RequestPermits {
    /// A permit for one more command, which holds it until its reply.
    pub(super) fn acquire(&self) -> Result<OwnedSemaphorePermit, RpcError> {
        let busy = || {
            let detail = format!("{MAX_REQUESTS_IN_FLIGHT} commands are in flight; wait for their replies");
            RpcError::new(RpcErrorCode::Busy, detail)
        };
        self.0.clone().try_acquire_owned().map_err(|_| busy())
    }
}
