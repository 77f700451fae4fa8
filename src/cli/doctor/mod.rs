//! `rtlogd doctor`: finds problems that would keep a configuration from working, and names a fix for each. The command
//! changes nothing.
//!
//! If the systemd service serves the configuration, the checks use the rights of the service: root becomes the user of the
//! service before the first check, with the same groups, and the settings of the unit are taken into account. Otherwise,
//! they use the rights of the calling user.
//!
//! This file has the checks, `missing` the notes of `rtlogd check`, and `machine` the facts about this machine that
//! both ask for. `directory` finds out why a directory cannot be used, `continuity` has what ends commands in a restart. `other_rtlogd` finds out whose daemon listens on a
//! port, `program` why a program cannot be run, and `unit` has the settings of the service.

mod continuity;
mod directory;
mod machine;
mod missing;
mod other_rtlogd;
mod program;
mod unit;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use nix::unistd::{self, Gid, Group, Uid, User};
use rustix::fs::Access;
use rustix::process::Resource;

use super::DEFAULT_CONFIG_PATH;
use crate::access::{Keyring, effective_user_name};
use crate::config::{
    self, Config, FileSelector, FileSourceConfig, JournalSourceConfig, Limits, ListenAddress, ProcessSourceConfig,
    SourceKind, TrustedProxy,
};
use crate::event::{StreamName, shell_word, with_causes};
use crate::listen::{TlsError, TlsServer, are_few_possible};
use crate::source;

use directory::DirectoryProblem;
pub(super) use machine::find_program;
use machine::{closed_directory, find_user, has_group, is_denied, is_rtlogd, remote_file_system};
pub(crate) use missing::missing;
use missing::{file_directories, is_missing_directory};
use other_rtlogd::OtherRtlogd;
use program::ProgramProblem;
use unit::unit_settings;

/// The inotify watches that a followed file needs: one for the file, one for its directory.
const INOTIFY_WATCHES_PER_FILE: u64 = 2;

/// The file descriptors that a stream needs in addition to connections: files, histories, pipes of commands.
const DESCRIPTORS_PER_STREAM_ESTIMATE: u64 = 8;

/// A problem, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) problem: String,
    pub(crate) fix: String,
}

/// The weight of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Something does not work until it is fixed.
    Problem,
    /// Something may be meant as it is.
    Note,
}

/// All problems of `config`.
pub(crate) fn find_problems(config: &Config) -> Vec<Finding> {
    let unit = unit_settings(config);
    let mut doctor = Doctor::new(unit, config);
    if let Err(error) = doctor.become_service() {
        let user = doctor.unit.get("User").map_or("", String::as_str);
        let problem = format!("cannot check with the rights of the service, whose user is {user}: {error}");
        doctor.report(problem, "correct User=, Group= and SupplementaryGroups= with systemctl edit rtlogd");
    }
    for listen in &config.listen {
        doctor.check_listen(listen, config);
    }
    for stream in &config.streams {
        let name = stream.name.as_str();
        match &stream.source {
            SourceKind::File(file) => doctor.check_files(&stream.name, file, config),
            SourceKind::Process(process) => doctor.check_command(name, process),
            SourceKind::Journal(journal) => doctor.check_journal(name, journal),
            SourceKind::Push => {}
        }
    }
    doctor.check_proxies(config);
    doctor.check_tls(config);
    doctor.check_keys(config);
    doctor.check_limits(config);
    let state = directory::state_directory_problems(config, &doctor.user, &doctor.owner());
    doctor.findings.extend(state);
    doctor.findings.extend(continuity::problems(&doctor.unit, config, continuity::has_bus()));
    doctor.findings
}

/// A command of rtlogd for this configuration, ready to be pasted.
fn command_with_config(command: &str, config: &Config) -> String {
    match config.files.first() {
        Some(file) if file != Path::new(DEFAULT_CONFIG_PATH) => format!("{command} --config {}", quoted(file)),
        _ => command.to_owned(),
    }
}

/// The path as a word of a command line.
fn quoted(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

struct Doctor {
    /// The settings of the service; empty if it does not serve the configuration.
    unit: BTreeMap<String, String>,
    /// The user as whom rtlogd serves the configuration.
    user: String,
    /// The command that makes the first key for the configuration.
    first_key: String,
    findings: Vec<Finding>,
}

impl Doctor {
    fn new(unit: BTreeMap<String, String>, config: &Config) -> Self {
        let user = match unit.get("User").map(String::as_str) {
            _ if unit.is_empty() => effective_user_name(),
            None | Some("") => "root".to_owned(),
            Some(user) => user.to_owned(),
        };
        let first_key = command_with_config("rtlogd token", config) + " --init";
        Self { unit, user, first_key, findings: Vec::new() }
    }

    fn report(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.findings.push(Finding { severity: Severity::Problem, problem: what.into(), fix: fix.into() });
    }

    fn note(&mut self, what: impl Into<String>, fix: impl Into<String>) {
        self.findings.push(Finding { severity: Severity::Note, problem: what.into(), fix: fix.into() });
    }

    /// The owner of a new directory, as `chown` takes it. Administrators read what the service owns.
    fn owner(&self) -> String {
        if self.unit.is_empty() { self.user.clone() } else { format!("{}:adm", self.user) }
    }

    /// Gives up the rights of root for those of the service. There is no way back, and none is needed.
    fn become_service(&self) -> io::Result<()> {
        let Some(name) = self.unit.get("User").filter(|name| !matches!(name.as_str(), "" | "root" | "0")) else {
            return Ok(());
        };
        if !Uid::effective().is_root() {
            return Ok(());
        }
        let missing = |what: &str, name: &str| io::Error::other(format!("there is no {what} {name}"));
        let group = |name: &str| {
            let number = name.parse().ok().map(Gid::from_raw);
            let found = Group::from_name(name).ok().flatten().map(|group| group.gid).or(number);
            found.ok_or_else(|| missing("group", name))
        };
        let user = User::from_name(name).ok().flatten().ok_or_else(|| missing("user", name))?;
        let setting = |name: &str| self.unit.get(name).map_or("", String::as_str);
        let main = if setting("Group").is_empty() { user.gid } else { group(setting("Group"))? };
        let login = std::ffi::CString::new(user.name).map_err(io::Error::other)?;
        let mut groups = unistd::getgrouplist(&login, main)?;
        for name in setting("SupplementaryGroups").split_whitespace() {
            groups.push(group(name)?);
        }
        unistd::setgroups(&groups)?;
        unistd::setgid(main)?;
        unistd::setuid(user.uid)?;
        Ok(())
    }

    /// Checks that the certificate and its key can be used.
    fn check_tls(&mut self, config: &Config) {
        let Some(Err(error)) = config.tls.as_ref().map(TlsServer::open) else { return };
        let fix = match &error {
            TlsError::Denied { path, .. } if closed_directory(path).is_some() => self.read_fix(path),
            TlsError::Denied { path, .. } => format!("chown {} {}", self.user, quoted(path)),
            TlsError::InsecureKeyPermissions(path, _) => format!("chmod o-rwx {}", quoted(path)),
            TlsError::Read(..) | TlsError::Empty(..) | TlsError::Unusable(..) | TlsError::ClientCa(..) => {
                "correct `tls` in the configuration, or put the files in place".to_owned()
            }
        };
        self.report(with_causes(&error), fix);
    }

    /// Checks that the keys of tokens exist and can be read.
    fn check_keys(&mut self, config: &Config) {
        for problem in Keyring::problems(&config.access) {
            let fix =
                format!("correct `access` in the configuration, or the owner of the file: chown {} FILE", self.user);
            self.report(problem, fix);
        }
        let Some(directory) = &config.access.keys else { return };
        if directory.try_exists().is_ok_and(|exists| !exists) {
            self.report(
                format!("the directory of keys {} does not exist", directory.display()),
                format!("{} makes it, with the first key; or remove `keys` from `access`", self.first_key),
            );
        } else if needs_tokens(config) && Keyring::lacks_first_key(&config.access) {
            self.report(
                format!(
                    "other machines need a token, but the directory {} has no key to sign one",
                    directory.display()
                ),
                format!("{} makes the first key", self.first_key),
            );
        }
    }

    fn check_listen(&mut self, listen: &ListenAddress, config: &Config) {
        match listen {
            ListenAddress::Tcp(address) => self.check_port(*address, config),
            ListenAddress::Unix(path) => {
                let directory = path.parent().unwrap_or(Path::new("/"));
                if UnixStream::connect(path).is_ok() || directory == Path::new("/run/rtlogd") {
                    // Another rtlogd serves it, or systemd creates the directory for the service.
                } else if let Some(problem) = DirectoryProblem::of(directory, Access::WRITE_OK | Access::EXEC_OK) {
                    let why = problem.describe(&effective_user_name());
                    // A directory that exists may belong to others for a good reason.
                    let owner = Some(self.owner()).filter(|_| matches!(problem, DirectoryProblem::Missing(_)));
                    let fix = problem.fix(&self.user, owner.as_deref(), "listen");
                    self.report(format!("cannot create the socket {}: {why}", path.display()), fix);
                }
            }
        }
    }

    fn check_port(&mut self, address: SocketAddr, config: &Config) {
        let port = address.port();
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_rtlogd(address) => {
                if let Some(OtherRtlogd { description, pid }) = OtherRtlogd::find(address, config) {
                    let stop = pid.map_or_else(
                        || format!("run ss -ltnp 'sport = :{port}' as root to find it, and stop it"),
                        |pid| format!("kill {pid} stops it (systemctl stop, if it is a service)"),
                    );
                    let what = format!("another rtlogd ({description}) listens on {address}");
                    self.report(what, format!("{stop}, or change `listen`"));
                }
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => self.report(
                format!("another program listens on {address}"),
                format!("ss -ltnp 'sport = :{}' shows it; stop it, or change `listen`", address.port()),
            ),
            Err(error) if error.kind() == ErrorKind::PermissionDenied && self.may_use_low_ports() => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => self.report(
                format!("only privileged programs may listen on {address}"),
                if self.unit.is_empty() {
                    "use a port of 1024 or above"
                } else {
                    "use a port of 1024 or above, or let systemd listen: systemctl edit rtlogd.socket"
                },
            ),
            Err(error) => self.report(
                format!("cannot listen on {address}: {error}"),
                "ip address shows the addresses of this machine; use one of them in `listen`",
            ),
        }
    }

    /// Returns whether the unit gives the service a right that root has lost by becoming the user of the service.
    fn may_use_low_ports(&self) -> bool {
        self.unit.get("AmbientCapabilities").is_some_and(|rights| rights.contains("cap_net_bind_service"))
    }

    /// Checks that trusted proxies exist, and that a likely proxy is trusted.
    fn check_proxies(&mut self, config: &Config) {
        for proxy in &config.trusted_proxies {
            if let TrustedProxy::SocketUser(user) = proxy
                && user.parse::<u32>().is_err()
                && !matches!(User::from_name(user), Ok(Some(_)))
            {
                self.report(
                    format!("`trusted_proxies` names the user {user}, who does not exist on this system"),
                    "correct the name, or install the proxy whose package creates the user",
                );
            }
        }
        if let Some(key) = config::hints_at_proxy(config) {
            self.report(
                format!("`{key}` suggests a proxy in front of rtlogd, but `trusted_proxies` names none"),
                "name the proxy, such as `trusted_proxies: [127.0.0.1]`, and let it send X-Forwarded-For; otherwise, rtlogd may \
                    take its clients for users of this machine",
            );
        }
    }

    fn check_files(&mut self, name: &StreamName, source: &FileSourceConfig, config: &Config) {
        for path in file_directories(source).into_iter().filter(|path| is_missing_directory(path)) {
            self.note(
                format!("stream {name}: there is no directory {}; its files are read once it appears", path.display()),
                format!("correct the path, or mkdir -p {}", quoted(&path)),
            );
        }
        let before = self.findings.len();
        for files in &source.files {
            let path = match files {
                FileSelector::Path(path) => path.clone(),
                FileSelector::Pattern(pattern) => literal_prefix(pattern),
            };
            self.check_file(name.as_str(), &path, matches!(files, FileSelector::Pattern(_)));
            if let Some(reason) = source::open_denial(&path, source.follow_symlinks, config.own_paths()) {
                self.report(
                    format!("stream {name}: {} is not followed: {reason}", path.display()),
                    "use a path in which all symlinks belong to root",
                );
            }
        }
        self.check_found_files(name, source, self.findings.len() == before);
    }

    /// The command that lets rtlogd read a file or a directory.
    fn read_fix(&self, path: &Path) -> String {
        let wanted = if path.is_dir() { "rx" } else { "r" };
        let (at, right) = closed_directory(path).map_or((path, wanted), |directory| (directory, "x"));
        format!("setfacl -m u:{0}:{right} {1}, or add {0} to its group", self.user, quoted(at))
    }

    /// Checks the files and directories that patterns match, except those in which they begin, and those of rotated files.
    fn check_found_files(&mut self, name: &StreamName, source: &FileSourceConfig, are_bases_open: bool) {
        let (found, denial) = source::matching_files(name, source);
        let is_closed = |path: &&PathBuf| is_denied(path, Access::READ_OK);
        let closed: Vec<_> = found.iter().filter(is_closed).collect();
        if let Some(first) = closed.first() {
            let count = closed.len();
            let caller = effective_user_name();
            self.report(
                format!(
                    "stream {name}: {caller} may not read {count} of the {} files that match, such as {}",
                    found.len(),
                    first.display()
                ),
                self.read_fix(first),
            );
        }
        if let Some(reason) = denial.filter(|_| are_bases_open) {
            self.report(format!("stream {name}: {reason}"), "let rtlogd list the directory, or correct the pattern");
        }
        for directory in source.rotated.iter().filter(|path| !is_missing_directory(path)) {
            self.check_directory(name.as_str(), directory);
        }
    }

    /// Checks that a directory that exists can be listed.
    fn check_directory(&mut self, name: &str, directory: &Path) {
        if is_denied(directory, Access::READ_OK | Access::EXEC_OK) {
            let what = format!("stream {name}: {} may not list {}", effective_user_name(), directory.display());
            self.report(what, self.read_fix(directory));
        }
    }

    fn check_file(&mut self, name: &str, path: &Path, is_pattern: bool) {
        for (setting, roots, fix) in [
            ("ProtectHome", &["/home", "/root", "/run/user"][..], "ProtectHome=read-only"),
            ("PrivateTmp", &["/tmp", "/var/tmp"], "PrivateTmp=no"),
        ] {
            let hides = self.unit.get(setting).is_some_and(|value| !matches!(value.as_str(), "no" | "read-only"));
            if hides && roots.iter().any(|root| path.starts_with(root)) {
                self.report(
                    format!("stream {name}: {setting}= of the service hides {}", path.display()),
                    format!("systemctl edit rtlogd, add {fix} below [Service], and restart rtlogd"),
                );
            }
        }
        if path.is_dir() && !is_pattern {
            self.report(
                format!("stream {name}: {} is a directory", path.display()),
                format!("name the files in it, such as {}/*.log", path.display()),
            );
        }
        // A file may appear later; the source waits for it.
        if is_denied(path, Access::READ_OK) {
            self.report(
                format!("stream {name}: {} may not read {}", effective_user_name(), path.display()),
                self.read_fix(path),
            );
        }
        if let Some(kind) = remote_file_system(path) {
            self.report(
                format!(
                    "stream {name}: {} is on {kind}, where changes by other machines are noticed late",
                    path.display()
                ),
                "run rtlogd on the machine that writes the file",
            );
        }
    }

    fn check_command(&mut self, name: &str, process: &ProcessSourceConfig) {
        if let Some(problem) = process.directory.as_ref().and_then(|path| DirectoryProblem::of(path, Access::EXEC_OK)) {
            let what = format!("stream {name}: {}", problem.describe(&effective_user_name()));
            self.report(what, problem.fix(&self.user, None, "directory"));
        }
        if let Some(user) = &process.user {
            self.check_user(name, user);
        }
        if let Some(group) = process.group.as_ref().filter(|group| !has_group(group)) {
            let what = format!("stream {name}: there is no group {group}");
            self.report(what, format!("addgroup --system {group}, or name another group"));
        }
        for path in &process.environment_files {
            self.check_environment_file(name, path);
        }
        if let Some(problem) = ProgramProblem::of(process) {
            let what = format!("stream {name}: {}", problem.describe(&effective_user_name()));
            self.report(what, problem.fix(&self.user));
        }
    }

    /// Checks that rtlogd can read variables from a file.
    fn check_environment_file(&mut self, name: &str, path: &Path) {
        let Err(error) = source::read_environment_file(path) else { return };
        let fix = match error.kind() {
            ErrorKind::PermissionDenied => self.read_fix(path),
            ErrorKind::NotFound => "create the file, or correct the path".to_owned(),
            _ => "correct the file".to_owned(),
        };
        let who = effective_user_name();
        self.report(format!("stream {name}: {who} cannot use the environment file {}: {error}", path.display()), fix);
    }

    /// Checks that a command may be run as that user.
    fn check_user(&mut self, name: &str, user: &str) {
        let Some(found) = find_user(user) else {
            let what = format!("stream {name}: there is no user {user}");
            return self.report(what, format!("adduser --system --group {user}, or name another user"));
        };
        let (who, may) = if self.unit.is_empty() {
            let own = rustix::process::geteuid();
            (effective_user_name(), own.is_root() || own.as_raw() == found.as_raw())
        } else {
            let has = |setting: &str| {
                let set = self.unit.get(setting).map_or("", String::as_str);
                ["cap_setuid", "cap_setgid"].iter().all(|right| set.split(' ').any(|has| has == *right))
            };
            let own = self.unit.get("User").map_or("", String::as_str);
            let root = matches!(own, "" | "root" | "0");
            (
                "the service".to_owned(),
                own == user || (root && has("CapabilityBoundingSet")) || has("AmbientCapabilities"),
            )
        };
        if !may {
            self.report(
                format!("stream {name}: {who} may not run a command as the user {user}"),
                if self.unit.is_empty() {
                    "start rtlogd as root, or remove `user` from the stream"
                } else {
                    "systemctl edit rtlogd, and add below [Service] the lines User=root, CapabilityBoundingSet=~ and \
                        SystemCallFilter=@privileged (see SANDBOX in rtlogd-operation(7)); or remove `user` from the stream"
                },
            );
        }
    }

    /// Checks that journalctl exists, and may read entries of other users.
    fn check_journal(&mut self, name: &str, journal: &JournalSourceConfig) {
        if let Some(directory) = &journal.directory {
            if is_missing_directory(directory) {
                let what = format!("stream {name}: there is no directory {} with a journal", directory.display());
                self.report(what, "correct `directory`, or copy the journal there");
            }
            self.check_directory(name, directory);
        }
        match Command::new("journalctl").args(["--lines=1", "--no-pager", "--output=cat"]).output() {
            Err(error) => self.report(
                format!(
                    "stream {name}: {} cannot run journalctl, which it needs to read the journal: {error}",
                    effective_user_name()
                ),
                match error.kind() {
                    ErrorKind::NotFound => "apt install systemd",
                    _ => "let this user run journalctl",
                },
            ),
            // The journal of another machine is read instead of that of this one.
            Ok(_) if journal.directory.is_some() => {}
            Ok(output) if !output.status.success() || output.stderr.starts_with(b"Hint:") => {
                let why = String::from_utf8_lossy(&output.stderr);
                self.report(
                    format!(
                        "stream {name}: {} may not read all of the journal: {}",
                        effective_user_name(),
                        first_line(&why)
                    ),
                    format!("adduser {} systemd-journal, and start rtlogd again (after a new login, if it is your own user)", self.user),
                );
            }
            Ok(_) => {}
        }
    }

    fn check_limits(&mut self, config: &Config) {
        let files = config.streams.iter().filter(|stream| matches!(stream.source, SourceKind::File(_))).count() as u64;
        for (limit, least) in [("max_user_watches", files * INOTIFY_WATCHES_PER_FILE), ("max_user_instances", 1)] {
            let path = format!("/proc/sys/fs/inotify/{limit}");
            let most: Option<u64> = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
            if most.is_some_and(|most| most < least) {
                self.report(
                    format!(
                        "the kernel's inotify limit {limit} is lower than the {least} that the configuration needs"
                    ),
                    format!("sysctl -w fs.inotify.{limit}={}", (least * 2).max(8192)),
                );
            }
        }
        if let Err(error) = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC) {
            self.report(
                format!(
                    "{} cannot get an inotify instance ({error}); without one, files are polled",
                    effective_user_name()
                ),
                "sysctl -w fs.inotify.max_user_instances=1024",
            );
        }
        let of_unit = self.unit.get("LimitNOFILE").map(|text| text.parse().unwrap_or(u64::MAX));
        let most = of_unit.or_else(|| rustix::process::getrlimit(Resource::Nofile).current).unwrap_or(u64::MAX);
        let (connections, streams) = (config.limits.connections, config.streams.len());
        let wanted = connections as u64 + DESCRIPTORS_PER_STREAM_ESTIMATE * streams as u64;
        // By default, a daemon that is run by hand accepts as many connections as it has descriptors.
        let matters = !self.unit.is_empty()
            || connections != Limits::default().connections
            || are_few_possible(connections, most, streams);
        if matters && most < wanted {
            self.report(
                format!(
                    "the limit of {most} open files is lower than the {wanted} that `limits: connections` may need"
                ),
                if self.unit.is_empty() {
                    format!("ulimit -n {wanted}")
                } else {
                    format!("systemctl edit rtlogd, and add LimitNOFILE={wanted} below [Service]")
                },
            );
        }
    }
}

/// Returns whether clients of other machines can reach rtlogd, directly or through a proxy.
fn needs_tokens(config: &Config) -> bool {
    let is_reached = !config.trusted_proxies.is_empty() || config.listen.iter().any(|listen| !listen.is_local());
    is_reached && config.access.issuers.is_empty() && !config.insecure
}

/// The directory in which a pattern begins: everything before the first name with a wildcard.
fn literal_prefix(pattern: &Path) -> PathBuf {
    let plain = |part: &Component<'_>| !part.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte));
    pattern.components().take_while(plain).collect()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("it printed nothing")
}
