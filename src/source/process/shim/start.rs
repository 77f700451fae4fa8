//! Starts a program by a shim: the side of the daemon.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::protocol::{self, EndPolicy, RunningProgram, ShimMessage, VERSION};
use super::snapshot::RunSnapshot;
use super::{ShimAddress, ShimTask};
use crate::config::ProcessSourceConfig;
use crate::source::process::child::{ExecFailure, ExecTask};
use crate::source::process::staging::{OutputStaging, StagingPipe};

/// The task of a shim before its descriptors are known.
#[derive(Debug)]
pub(in crate::source::process) struct ShimPlan {
    /// The directory of its socket.
    pub(in crate::source::process) directory: PathBuf,
    pub(in crate::source::process) address: ShimAddress,
    /// The run.
    pub(in crate::source::process) run: u64,
    pub(in crate::source::process) mark: String,
    pub(in crate::source::process) staging: OutputStaging,
}

impl ShimPlan {
    /// Plans the shim for a run of a stream, with its socket in this directory. `outputs` is the number of outputs of the
    /// program: two pipes or one terminal.
    ///
    /// # Errors
    /// If the system has no random numbers, descriptors or memory left.
    pub(in crate::source::process) fn new(
        directory: PathBuf,
        stream: &str,
        run: u64,
        mark: &str,
        outputs: usize,
    ) -> io::Result<Self> {
        let pipes = (0..outputs).map(|_| StagingPipe::new()).collect::<io::Result<_>>()?;
        let staging = OutputStaging { snapshot: RunSnapshot::new()?, pipes };
        Ok(Self { directory, address: ShimAddress::random(stream)?, run, mark: mark.to_owned(), staging })
    }

    /// Sends the task to a new shim, and waits until the program runs. The shim keeps the daemon's ends of the pipes, which
    /// are the outputs and, if there is one, the input. Blocks, for at most `timeout` after the start of the shim.
    ///
    /// # Errors
    /// If the shim ends or does not answer.
    pub(in crate::source::process) fn start(
        &self,
        shim: &OwnedFd,
        spec: &ProcessSourceConfig,
        exec: ExecTask,
        [passed_on, outputs, input]: [&[BorrowedFd<'_>]; 3],
        timeout: Duration,
    ) -> io::Result<Result<RunningProgram, ExecFailure>> {
        let task = ShimTask {
            directory: self.directory.clone(),
            address: self.address.clone(),
            run: self.run,
            mark: self.mark.clone(),
            passed_on: passed_on.len(),
            outputs: outputs.len(),
            input: !input.is_empty(),
            staged: true,
            policy: EndPolicy::of(spec),
            exec,
        };
        let mut file = File::from(memfd_create("rtlogd-task", MemfdFlags::CLOEXEC)?);
        serde_json::to_writer(&mut file, &task)?;
        file.flush()?;
        file.rewind()?;
        let staging: Vec<_> = self.staging.pipes.iter().flat_map(StagingPipe::ends).collect();
        let snapshot = self.staging.snapshot.as_fd();
        let sent = [&[file.as_fd()], passed_on, outputs, input, &staging, &[snapshot]].concat();
        protocol::send(shim, &VERSION, &sent)?;
        set_socket_timeout(shim, Timeout::Recv, Some(timeout))?;
        match protocol::receive(shim)? {
            Some((ShimMessage::Running(running), _)) => Ok(Ok(running)),
            Some((ShimMessage::Failed(failure), _)) => Ok(Err(failure)),
            Some((ShimMessage::Refused { .. } | ShimMessage::Ended(_), _)) | None => {
                Err(io::Error::other("the process between rtlogd and the program has ended"))
            }
        }
    }
}

/// The two ends of a connection to a new shim.
///
/// # Errors
/// If the system refuses it.
pub(in crate::source::process) fn connection() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}
