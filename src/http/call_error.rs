//! The reasons for which a call to a stream is refused, and how each is reported over HTTP and over the control
//! channel.

use http::StatusCode;

use crate::access::AccessDenied;
use crate::control::CommandError;
use crate::stream::RunUnavailable;
use crate::wire::message::{RpcError, RpcErrorCode};

use super::guard::lease::HeldLease;
use super::problem::Problem;

/// The reason why a call was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(transparent)]
    Denied(AccessDenied),
    #[error("no stream is named {0:?}")]
    NoStream(String),
    #[error("the stream is being restarted because its configuration changed; try again")]
    Reconfiguring,
    #[error("{}", .0.refusal_text())]
    LeasedByOther(HeldLease),
    #[error(transparent)]
    Run(#[from] RunUnavailable),
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl From<AccessDenied> for CallError {
    fn from(denied: AccessDenied) -> Self {
        match denied {
            AccessDenied::NoSuchStream(name) => Self::NoStream(name),
            denied @ (AccessDenied::TokenNeeded(_) | AccessDenied::Right { .. } | AccessDenied::TokenInUrl(_)) => {
                Self::Denied(denied)
            }
        }
    }
}

impl CallError {
    /// The status of the error over HTTP, and its JSON-RPC code over the control channel.
    fn codes(&self) -> (StatusCode, RpcErrorCode) {
        match self {
            Self::Denied(_) => (StatusCode::FORBIDDEN, RpcErrorCode::Denied),
            Self::Run(RunUnavailable::NotKept(..) | RunUnavailable::Forgotten(_)) => {
                (StatusCode::GONE, RpcErrorCode::NotFound)
            }
            Self::NoStream(_) | Self::Run(_) => (StatusCode::NOT_FOUND, RpcErrorCode::NotFound),
            Self::Reconfiguring => (StatusCode::SERVICE_UNAVAILABLE, RpcErrorCode::Busy),
            Self::LeasedByOther(_) => (StatusCode::CONFLICT, RpcErrorCode::Leased),
            Self::Command(error) => match error {
                CommandError::NotAProcess
                | CommandError::NotAPushStream
                | CommandError::NotRunning
                | CommandError::NoInput
                | CommandError::InputEnded
                | CommandError::Redacted
                | CommandError::NoPty => (StatusCode::CONFLICT, RpcErrorCode::Refused),
                CommandError::TooLong(_) | CommandError::LineTooLong(_) => {
                    (StatusCode::PAYLOAD_TOO_LARGE, RpcErrorCode::Parameters)
                }
                CommandError::NoSignal(_) => (StatusCode::BAD_REQUEST, RpcErrorCode::Parameters),
                CommandError::Busy | CommandError::TooManyCommands | CommandError::TooManySenders => {
                    (StatusCode::SERVICE_UNAVAILABLE, RpcErrorCode::Busy)
                }
                CommandError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, RpcErrorCode::Internal),
                CommandError::Gone => (StatusCode::SERVICE_UNAVAILABLE, RpcErrorCode::Stopping),
            },
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match &error {
            // The status is 401 if a token would help.
            CallError::Denied(denied) => denied.clone().into(),
            CallError::NoStream(name) => Self::no_stream(name),
            CallError::Reconfiguring | CallError::LeasedByOther(_) | CallError::Run(_) | CallError::Command(_) => {
                Self::new(error.codes().0, error.to_string())
            }
        }
    }
}

impl From<CallError> for RpcError {
    fn from(error: CallError) -> Self {
        Self::new(error.codes().1, error.to_string())
    }
}
