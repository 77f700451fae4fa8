//! The messages between a shim and the daemon. Each is one packet of JSON on a socket that keeps the bounds of packets.
//!
//! A run may outlive many upgrades of rtlogd, so that a later daemon must understand every version of these messages:
//! fields may be added, with defaults, and nothing is removed or changed. For that, a message without fields has braces.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::milliseconds;
use crate::config::{ProcessSourceConfig, StopTarget};
use crate::source::process::child::ExecFailure;

/// The version of the messages that this program writes.
pub(crate) const VERSION: u32 = 2;

/// The first version in which a shim knows [`DaemonMessage::Asked`].
pub(super) const ASKED_SINCE: u32 = 2;

/// The most descriptors in one message: the task, those of the program, and those that the shim keeps.
pub(in crate::source::process) const MAX_DESCRIPTORS: usize = 16;

/// The largest message in bytes. The longest text in one is the reason why a program did not start.
pub(super) const MAX_MESSAGE_SIZE: usize = 8 << 10;

/// A message of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::source::process) enum DaemonMessage {
    /// The daemon takes over the run. The secret proves that it is the daemon that has the record of this run. With it comes
    /// what its configuration says about the end of the run, which may have changed since the start.
    Attach {
        version: u32,
        secret: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<EndPolicy>,
    },
    /// The input of the program has ended: the shim closes its copy of the pipe, so that the program learns of it.
    InputEnded {},
    /// The run is to end, as its stream says how. Needs no attachment.
    End {},
    /// The daemon has asked the run to end. If the daemon itself ends, the shim kills what is left after this time, in
    /// milliseconds, and waits for the next daemon as before. Not sent to shims before [`ASKED_SINCE`].
    Asked { grace: u64 },
    /// The daemon has recorded the end of the run; the shim ends.
    Bye {},
}

/// How the shim ends a run that no daemon claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source::process) struct EndPolicy {
    /// The time for which the program lives without a daemon, in milliseconds.
    pub(super) orphan_timeout: u64,
    /// The signal that asks the program to end.
    pub(super) stop_signal: i32,
    /// Only its first process is asked; what that one leaves behind is asked after it.
    pub(super) only_leader: bool,
    /// The time until `KILL`, in milliseconds.
    pub(super) grace: u64,
}

impl EndPolicy {
    pub(in crate::source::process) fn of(spec: &ProcessSourceConfig) -> Self {
        Self {
            orphan_timeout: milliseconds(spec.orphan_timeout),
            stop_signal: spec.stop.signal.number(),
            only_leader: spec.stop.only == StopTarget::Leader,
            grace: milliseconds(spec.stop.grace),
        }
    }
}

/// A message of the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::source::process) enum ShimMessage {
    /// The program runs. With the answer to [`DaemonMessage::Attach`] come the descriptors of the run: the outputs, the
    /// input if there is one, the staging pipes (the end to read from, and the one to write to), and the snapshot.
    Running(RunningProgram),
    /// The program could not be started.
    Failed(ExecFailure),
    /// The daemon may not take over the run.
    Refused { reason: String },
    /// The program has ended.
    Ended(ProgramExit),
}

/// A program that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source::process) struct RunningProgram {
    pub(in crate::source::process) version: u32,
    pub(in crate::source::process) pid: i32,
    /// The age of the run in milliseconds.
    pub(in crate::source::process) age: u64,
    /// The number of outputs: two pipes or one terminal.
    pub(in crate::source::process) outputs: usize,
    /// The program has a pipe as its standard input.
    pub(in crate::source::process) input: bool,
    /// There is a staging pipe for each output.
    #[serde(default)]
    pub(in crate::source::process) staged: bool,
    /// The time for which no daemon was attached, in milliseconds, in total.
    #[serde(default)]
    pub(in crate::source::process) orphaned: u64,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source::process) struct ProgramExit {
    /// The status as wait(2) gives it; `None` if it is not known.
    pub(in crate::source::process) status: Option<i32>,
    /// The peak memory in bytes.
    pub(in crate::source::process) memory: Option<u64>,
    /// The duration of the run in milliseconds.
    pub(in crate::source::process) duration: u64,
    /// The shim ended the run, since no daemon came.
    #[serde(default)]
    pub(in crate::source::process) orphaned: bool,
}

/// Sends a message, with these descriptors.
///
/// # Errors
/// If the other side is gone, or if it does not read.
pub(crate) fn send(socket: impl AsFd, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors"));
    }
    sendmsg(socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a message and its descriptors; `None` at the end of the connection.
///
/// # Errors
/// If nothing is there to be received (`WouldBlock`), or if the message is not one of this protocol.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut text = vec![0; MAX_MESSAGE_SIZE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = rights.flatten().collect();
    let message = serde_json::from_slice(text.get(..received.bytes).unwrap_or_default())?;
    Ok(Some((message, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::process::child::ExecStep;

    /// A daemon must understand the shims of all earlier versions, so that these texts never change.
    #[test]
    fn the_messages_of_all_versions_are_understood() {
        let attach = DaemonMessage::Attach { version: 1, secret: "5ec".into(), policy: None };
        let policy = EndPolicy { orphan_timeout: 600_000, stop_signal: 15, only_leader: true, grace: 10_000 };
        let attach_by_policy = DaemonMessage::Attach { version: 1, secret: "5ec".into(), policy: Some(policy) };
        for (text, message) in [
            (r#"{"attach":{"version":1,"secret":"5ec"}}"#, attach),
            (
                r#"{"attach":{"version":1,"secret":"5ec","policy":{"orphan_timeout":600000,"stop_signal":15,"only_leader":true,"grace":10000}}}"#,
                attach_by_policy,
            ),
            (r#"{"end":{}}"#, DaemonMessage::End {}),
            (r#"{"input_ended":{}}"#, DaemonMessage::InputEnded {}),
            (r#"{"bye":{}}"#, DaemonMessage::Bye {}),
            // Of version 2.
            (r#"{"asked":{"grace":500}}"#, DaemonMessage::Asked { grace: 500 }),
        ] {
            assert_eq!(serde_json::from_str::<DaemonMessage>(text).unwrap(), message);
            assert_eq!(serde_json::to_string(&message).unwrap(), text);
        }
        let running =
            RunningProgram { version: 1, pid: 7, age: 12, outputs: 2, input: true, staged: true, orphaned: 0 };
        let failure = ExecFailure { step: ExecStep::User, errno: None, error: "there is no such user".into() };
        let end = ProgramExit { status: Some(256), memory: Some(4096), duration: 5, orphaned: false };
        for (text, message) in [
            (
                r#"{"running":{"version":1,"pid":7,"age":12,"outputs":2,"input":true,"staged":true,"orphaned":0}}"#,
                ShimMessage::Running(running),
            ),
            (
                r#"{"failed":{"step":"User","errno":null,"error":"there is no such user"}}"#,
                ShimMessage::Failed(failure),
            ),
            (r#"{"refused":{"reason":"busy"}}"#, ShimMessage::Refused { reason: "busy".into() }),
            (r#"{"ended":{"status":256,"memory":4096,"duration":5,"orphaned":false}}"#, ShimMessage::Ended(end)),
        ] {
            assert_eq!(serde_json::from_str::<ShimMessage>(text).unwrap(), message);
            assert_eq!(serde_json::to_string(&message).unwrap(), text);
        }
        // A later version may add fields.
        let later = r#"{"ended":{"status":0,"memory":null,"duration":5,"cores":1}}"#;
        let end = ProgramExit { status: Some(0), memory: None, duration: 5, orphaned: false };
        assert_eq!(serde_json::from_str::<ShimMessage>(later).unwrap(), ShimMessage::Ended(end));
    }
}
