//! Notes of `rtlogd check` on things that a configuration names and this machine does not have. The configuration may
//! be meant for another machine.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use crate::access::effective_user_name;
use crate::config::{Config, FileSelector, FileSourceConfig, ProcessSourceConfig, SourceKind};
use crate::event::word_list;
use crate::source::read_environment_file;

use super::machine::{find_program, find_user, has_group};
use super::{command_with_config, literal_prefix};

/// A note for each directory of files and commands, and each user, group and program of a command, that this machine does
/// not have. The configuration may be meant for another machine, so these are not mistakes.
pub(crate) fn missing(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    let doctor = command_with_config("rtlogd doctor", config);
    let mut note = |name: &str, missing: &[String]| {
        if !missing.is_empty() {
            let missing = word_list(missing, "and");
            notes.push(format!("stream {name}: this machine has {missing} (`{doctor}` checks this in detail)"));
        }
    };
    for stream in &config.streams {
        match &stream.source {
            SourceKind::File(file) => {
                let missing = file_directories(file).into_iter().filter(|path| is_missing_directory(path));
                let missing: Vec<_> = missing.map(|path| format!("no directory {}", path.display())).collect();
                note(stream.name.as_str(), &missing);
            }
            SourceKind::Process(process) => note(stream.name.as_str(), &missing_parts(process)),
            SourceKind::Journal(_) | SourceKind::Push => {}
        }
    }
    for stream in &config.streams {
        let SourceKind::Process(process) = &stream.source else { continue };
        let name = stream.name.as_str();
        notes.extend(process.environment_files.iter().filter_map(|path| environment_file_note(name, path)));
        let other = process.user.as_ref().filter(|user| find_user(user).is_some_and(|uid| uid != Uid::effective()));
        if let Some(user) = other.filter(|_| !Uid::effective().is_root()) {
            notes.push(format!(
                "stream {name}: to run the command as {user}, rtlogd must be started by root (or have CAP_SETUID and CAP_SETGID); \
                you are {}",
                effective_user_name()
            ));
        }
    }
    notes
}

/// The things that a command needs and this machine does not have.
fn missing_parts(process: &ProcessSourceConfig) -> Vec<String> {
    let directory = process.directory.as_ref().filter(|path| !path.is_dir());
    let user = process.user.as_ref().filter(|user| find_user(user).is_none());
    let group = process.group.as_ref().filter(|group| !has_group(group));
    let program = process.argv.first().map(PathBuf::from).filter(|_| find_program(process).is_none());
    let parts = [
        directory.map(|path| format!("no directory {}", path.display())),
        user.map(|user| format!("no user {user}")),
        group.map(|group| format!("no group {group}")),
        program.map(|program| format!("no program {}", program.display())),
    ];
    parts.into_iter().flatten().collect()
}

/// The directories in which the files of a stream are looked for, without repetition: those of single files, those in which
/// patterns begin, and those into which files are moved when they are rotated.
pub(super) fn file_directories(source: &FileSourceConfig) -> Vec<PathBuf> {
    let directory = |files: &FileSelector| match files {
        FileSelector::Path(path) => path.parent().map(Path::to_owned),
        FileSelector::Pattern(pattern) => Some(literal_prefix(pattern)),
    };
    let mut directories: Vec<PathBuf> = Vec::new();
    for path in source.files.iter().filter_map(directory).chain(source.rotated.iter().cloned()) {
        if !directories.contains(&path) {
            directories.push(path);
        }
    }
    directories
}

/// Returns whether there is no directory at the path. One that this user may not look at counts as there.
pub(super) fn is_missing_directory(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(found) => !found.is_dir(),
        Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

/// A note on a file of environment variables that is missing or wrong. What the caller may not read, the daemon may.
fn environment_file_note(stream: &str, path: &Path) -> Option<String> {
    let error = read_environment_file(path).err()?;
    let is_private = error.kind() == std::io::ErrorKind::PermissionDenied;
    (!is_private).then(|| format!("stream {stream}: the environment file {} cannot be used: {error}", path.display()))
}
