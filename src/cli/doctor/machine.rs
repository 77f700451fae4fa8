//! Facts about this machine: users, groups, programs, file systems, and the program that listens on a port. No function
//! here decides what is a problem.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Group, Uid, User};
use rustix::fs::Access;

use crate::config::ProcessSourceConfig;

/// The time that a program on the wanted port has to identify itself as an rtlogd.
const PORT_PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest response to such a question, in bytes: the list of about a thousand streams.
const MAX_PROBE_SIZE: u64 = 1 << 20;

/// Network file systems, whose changes on other machines inotify does not report (`statfs(2)`).
const REMOTE_FILE_SYSTEMS: [(u64, &str); 5] =
    [(0x6969, "NFS"), (0xff53_4d42, "CIFS"), (0xfe53_4d42, "SMB"), (0x0102_1997, "9p"), (0x6573_5546, "FUSE")];

/// The id of a user that is given by name or number. A number need not belong to a user.
pub(super) fn find_user(user: &str) -> Option<Uid> {
    let number = user.parse().ok().map(Uid::from_raw);
    User::from_name(user).ok().flatten().map(|found| found.uid).or(number)
}

pub(super) fn has_group(group: &str) -> bool {
    group.parse::<u32>().is_ok() || matches!(Group::from_name(group), Ok(Some(_)))
}

/// The path of the program of a command, if the calling user may run it.
pub(in crate::cli) fn find_program(process: &ProcessSourceConfig) -> Option<PathBuf> {
    let may_run = |path: &PathBuf| path.is_file() && check_access(path, Access::EXEC_OK).is_ok();
    candidates(process).into_iter().find(may_run)
}

/// The paths at which the program of a command is looked for.
pub(super) fn candidates(process: &ProcessSourceConfig) -> Vec<PathBuf> {
    let Some(program) = process.argv.first().map(Path::new) else { return Vec::new() };
    if program.components().count() > 1 {
        let base = process.directory.as_deref().unwrap_or(Path::new(""));
        return vec![base.join(program)];
    }
    let path = process.environment.get("PATH").map_or_else(|| std::env::var_os("PATH"), |path| Some(path.into()));
    std::env::split_paths(&path.unwrap_or_default()).map(|directory| directory.join(program)).collect()
}

/// The first directory of a path that the calling user may not enter.
pub(super) fn closed_directory(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).filter(|directory| is_denied(directory, Access::EXEC_OK)).last()
}

pub(super) fn check_access(path: &Path, access: Access) -> io::Result<()> {
    Ok(rustix::fs::access(path, access)?)
}

/// Returns whether the calling user lacks this permission for something that exists.
pub(super) fn is_denied(path: &Path, access: Access) -> bool {
    check_access(path, access).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// The free bytes on the file system where `path` is or will be.
pub(super) fn free_space(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The kind of file system, if it is a network file system.
pub(super) fn remote_file_system(path: &Path) -> Option<&'static str> {
    let there = path.ancestors().find(|path| path.exists())?;
    let kind = rustix::fs::statfs(there).ok()?.f_type;
    // The kernel's number is signed on some machines; only these 32 bits are significant.
    let kind = u64::try_from(kind).ok()? & 0xffff_ffff;
    REMOTE_FILE_SYSTEMS.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name)
}

/// Returns whether an rtlogd listens on the address.
pub(super) fn is_rtlogd(address: SocketAddr) -> bool {
    ask(address, "/health/live").is_ok_and(|answer| answer.ends_with("alive\n"))
}

/// The response of the server at the address to a GET of this path, with its head.
pub(super) fn ask(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PORT_PROBE_TIMEOUT)?;
    stream.set_read_timeout(Some(PORT_PROBE_TIMEOUT))?;
    // HTTP/1.0 has no chunked bodies.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_PROBE_SIZE).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The inodes of the sockets that listen on the port of the address (`proc_net_tcp(5)`).
pub(super) fn listening_sockets(address: SocketAddr) -> Vec<String> {
    /// `TCP_LISTEN` of the kernel, as the table shows it.
    const LISTENING: &str = "0A";
    let port = format!(":{:04X}", address.port());
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
            (local.ends_with(&port) && state == LISTENING).then(|| inode.to_owned())
        })
        .collect()
}
