//! A directory that rtlogd needs and cannot use: the reason, and the fix. A directory that is missing needs another fix than
//! one that the user may not enter.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::access::effective_user_name;
use crate::config::Config;

use super::machine::{check_access, closed_directory, free_space};
use super::{Finding, Severity, quoted};

/// Why a directory cannot be used.
#[derive(Debug)]
pub(super) enum DirectoryProblem {
    /// There is nothing at the path.
    Missing(PathBuf),
    /// The path, or a part of it, is something else, such as a file.
    NotADirectory(PathBuf),
    /// This user may not reach the directory, or not use it for what is wanted.
    NotPermitted(PathBuf, Access),
    /// The system says something else, such as that the file system is read-only.
    Unusable(PathBuf, io::Error),
}

impl DirectoryProblem {
    /// The problem of a directory that is to be used in this way; `None` if that is possible.
    pub(super) fn of(path: &Path, access: Access) -> Option<Self> {
        let found = fs::metadata(path).and_then(|found| {
            if found.is_dir() { check_access(path, access) } else { Err(ErrorKind::NotADirectory.into()) }
        });
        let error = found.err()?;
        Some(match error.kind() {
            ErrorKind::NotFound => Self::Missing(path.to_owned()),
            ErrorKind::NotADirectory => Self::NotADirectory(path.to_owned()),
            ErrorKind::PermissionDenied => Self::NotPermitted(path.to_owned(), access),
            _ => Self::Unusable(path.to_owned(), error),
        })
    }

    /// One sentence about the problem; `caller` is the user who would use the directory.
    pub(super) fn describe(&self, caller: &str) -> String {
        match self {
            Self::Missing(path) => format!("there is no directory {}", path.display()),
            Self::NotADirectory(path) => format!("{} is not a directory", path.display()),
            Self::NotPermitted(path, access) => {
                let verb = if access.contains(Access::WRITE_OK) { "write to" } else { "enter" };
                format!("{caller} may not {verb} the directory {}", path.display())
            }
            Self::Unusable(path, error) => format!("the directory {} cannot be used: {error}", path.display()),
        }
    }

    /// The fix. `user` is the user as whom rtlogd serves the configuration, `owner` that of a directory that is made for it;
    /// without one, any owner will do. `key` is the key of the configuration that names the directory.
    pub(super) fn fix(&self, user: &str, owner: Option<&str>, key: &str) -> String {
        match self {
            Self::Missing(path) => {
                let path = quoted(path);
                let chown = owner.map_or_else(String::new, |owner| format!(" && chown {owner} {path}"));
                format!("mkdir -p {path}{chown}, or correct `{key}`")
            }
            Self::NotADirectory(_) => format!("correct `{key}`"),
            Self::NotPermitted(path, access) => match (closed_directory(path), owner) {
                (Some(closed), _) => format!("setfacl -m u:{user}:x {}, or correct `{key}`", quoted(closed)),
                (None, Some(owner)) => format!("chown {owner} {}, or correct `{key}`", quoted(path)),
                (None, None) => {
                    let rights = if access.contains(Access::WRITE_OK) { "rwx" } else { "rx" };
                    format!("setfacl -m u:{user}:{rights} {}, or correct `{key}`", quoted(path))
                }
            },
            Self::Unusable(..) => format!("name another directory in `{key}`"),
        }
    }
}

/// The problems with the state directory; `user` is the user as whom rtlogd serves the configuration, and `owner` the owner
/// of directories that are made for it.
pub(super) fn state_directory_problems(config: &Config, user: &str, owner: &str) -> Vec<Finding> {
    const KEY: &str = "state_directory";
    let Some(directory) = &config.state_directory else { return Vec::new() };
    let mut findings = Vec::new();
    let mut report = |problem: String, fix: String| {
        findings.push(Finding { severity: Severity::Problem, problem, fix });
    };
    let caller = effective_user_name();
    match DirectoryProblem::of(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        None => {}
        Some(problem @ DirectoryProblem::Missing(_)) => {
            // The first start creates the directory, if that is possible.
            let above = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
            if check_access(above, Access::WRITE_OK).is_err() {
                report(
                    format!("{}, and {caller} may not create it; `{KEY}` names it", problem.describe(&caller)),
                    format!("mkdir -p {0} && chown {owner} {0} && chmod 700 {0}", quoted(directory)),
                );
            }
        }
        Some(problem) => {
            report(format!("{}, which `{KEY}` names", problem.describe(&caller)), problem.fix(user, Some(owner), KEY));
        }
    }
    let wanted: u64 = config.streams.iter().map(|stream| stream.history.disk).fold(0, u64::saturating_add);
    if let Some(free) = free_space(directory).filter(|free| *free < wanted) {
        report(
            format!("histories may grow to {} MiB, but the disk has only {} MiB left", wanted >> 20, free >> 20),
            format!("lower `history: {{ disk: ... }}`, or move `{KEY}` to another disk"),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_what_is_closed_is_opened() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::write(path("file"), "").unwrap();
        let text = |name: &str| path(name).display().to_string();
        for (name, problem, fix, fix_of_owner) in [
            (
                "no/such",
                format!("there is no directory {}", text("no/such")),
                format!("mkdir -p {}, or correct `directory`", text("no/such")),
                format!("mkdir -p {0} && chown me:adm {0}, or correct `directory`", text("no/such")),
            ),
            (
                "file",
                format!("{} is not a directory", text("file")),
                "correct `directory`".to_owned(),
                "correct `directory`".to_owned(),
            ),
            (
                "file/in",
                format!("{} is not a directory", text("file/in")),
                "correct `directory`".to_owned(),
                "correct `directory`".to_owned(),
            ),
        ] {
            let found = DirectoryProblem::of(&path(name), Access::EXEC_OK).unwrap();
            assert_eq!(found.describe("me"), problem);
            assert_eq!(found.fix("me", None, "directory"), fix);
            assert_eq!(found.fix("me", Some("me:adm"), "directory"), fix_of_owner);
        }
        assert!(DirectoryProblem::of(home.path(), Access::EXEC_OK).is_none());
        // Root may use every directory, so the refusal is made up.
        let table = [
            (Access::EXEC_OK, None, "enter", "setfacl -m u:me:rx", "correct `directory`"),
            (Access::WRITE_OK | Access::EXEC_OK, None, "write to", "setfacl -m u:me:rwx", "correct `directory`"),
            (Access::WRITE_OK, Some("me:adm"), "write to", "chown me:adm", "correct `directory`"),
        ];
        for (access, owner, verb, command, alternative) in table {
            let closed = DirectoryProblem::NotPermitted(home.path().to_owned(), access);
            let at = home.path().display();
            assert_eq!(closed.describe("me"), format!("me may not {verb} the directory {at}"));
            assert_eq!(closed.fix("me", owner, "directory"), format!("{command} {at}, or {alternative}"));
        }
    }

    #[test]
    fn a_file_in_the_place_of_the_state_directory_is_found() {
        let home = tempfile::tempdir().unwrap();
        let problems = |name: &str| {
            let config = Config { state_directory: Some(home.path().join(name)), ..Config::default() };
            state_directory_problems(&config, "me", "me").into_iter().map(|found| found.fix).collect::<Vec<_>>()
        };
        fs::write(home.path().join("file"), "").unwrap();
        assert_eq!(problems("new"), [""; 0]);
        assert_eq!(problems("file"), ["correct `state_directory`"]);
    }
}
