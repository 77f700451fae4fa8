//! The program of a command that cannot be run: why, and what helps.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::ProcessSourceConfig;

use super::machine::{candidates, closed_directory, find_program};
use super::quoted;

/// Why the program of a command cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProgramProblem {
    /// There is no such file.
    Missing { program: PathBuf, is_path: bool },
    /// The path names something else, such as a directory.
    NotAFile(PathBuf),
    /// Nobody may execute the file.
    NotExecutable(PathBuf),
    /// This user may not execute the file, or not reach it.
    NotPermitted(PathBuf),
}

impl ProgramProblem {
    /// The problem of a command; `None` if its program can be run.
    pub(super) fn of(process: &ProcessSourceConfig) -> Option<Self> {
        let program = PathBuf::from(process.argv.first()?);
        if find_program(process).is_some() {
            return None;
        }
        let is_path = program.components().count() > 1;
        let found = candidates(process).into_iter().find_map(|path| match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => is_path.then_some(Self::NotPermitted(path)),
            Err(_) => None,
            Ok(found) if !found.is_file() => is_path.then_some(Self::NotAFile(path)),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => Some(Self::NotExecutable(path)),
            Ok(_) => Some(Self::NotPermitted(path)),
        });
        Some(found.unwrap_or(Self::Missing { program, is_path }))
    }

    /// One sentence about the problem; `caller` is the user who would run the program.
    pub(super) fn describe(&self, caller: &str) -> String {
        match self {
            Self::Missing { program, is_path: true } => format!("there is no program {}", program.display()),
            Self::Missing { program, is_path: false } => {
                format!("there is no program {} in any directory of `PATH`", program.display())
            }
            Self::NotAFile(path) => format!("{} is not a program", path.display()),
            Self::NotExecutable(path) => format!("{} is not executable", path.display()),
            Self::NotPermitted(path) => format!("{caller} is not permitted to run {}", path.display()),
        }
    }

    /// The fix; `user` is the user as whom rtlogd serves the configuration.
    pub(super) fn fix(&self, user: &str) -> String {
        match self {
            Self::Missing { program, is_path } => {
                let file_name = program.file_name().map_or(program.as_path(), Path::new);
                let other = if *is_path { "correct the path" } else { "write the full path of the program" };
                format!("apt-file search bin/{} finds its package; or {other}", file_name.display())
            }
            Self::NotAFile(_) => "correct the path".to_owned(),
            Self::NotExecutable(path) => format!("chmod +x {}, or correct the path", quoted(path)),
            Self::NotPermitted(path) => match closed_directory(path) {
                Some(directory) => format!("setfacl -m u:{user}:x {}, or move the program", quoted(directory)),
                None => format!("setfacl -m u:{user}:rx {}", quoted(path)),
            },
        }
    }
}
