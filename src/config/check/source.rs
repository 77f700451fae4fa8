//! Checks that a stream has exactly one source, and only keys that apply to that source.

use std::time::Duration;

use crate::event::{StreamName, word_list};

use crate::config::SourceKind;
use crate::config::parse::located::Located;
use crate::config::raw;
use crate::config::report::NodeLocation;

use super::context::CheckContext;
use super::file::check_files;
use super::journal::check_journal;
use super::process::check_process;

/// The sources that a stream can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceKey {
    File,
    Command,
    Journal,
    Push,
}

impl SourceKey {
    /// The configuration key of the source.
    fn key(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Command => "command",
            Self::Journal => "journal",
            Self::Push => "push",
        }
    }

    /// The action of a stream with this source, for messages.
    fn does(self) -> &'static str {
        match self {
            Self::File => "follows a file",
            Self::Command => "runs a command",
            Self::Journal => "follows the journal",
            Self::Push => "receives pushed lines",
        }
    }
}

/// Checks the one source of the stream that is written at `stream`.
pub(super) fn check_source(
    context: &mut CheckContext<'_>,
    name: &StreamName,
    stream: NodeLocation,
    raw: &mut raw::Stream,
    orphan_timeout: Duration,
) -> Option<SourceKind> {
    let (file, command, journal) = (raw.file.take(), raw.command.take(), raw.journal.take());
    let push = raw.push.take().filter(|at| at.value != Some(false));
    let mut written: Vec<_> = [
        (SourceKey::File, location(file.as_ref())),
        (SourceKey::Command, location(command.as_ref())),
        (SourceKey::Journal, location(journal.as_ref())),
        (SourceKey::Push, location(push.as_ref())),
    ]
    .into_iter()
    .filter_map(|(by, at)| Some((at?, by)))
    .collect();
    written.sort_by_key(|(at, _)| *at);
    match written.as_slice() {
        [] => {
            context.wrong(
                stream,
                format!(
                    "stream {:?} has no source (write `file: PATH`, `command: [PROGRAM, ...]`, `journal: {{}}` or \
                    `push: true`)",
                    name.as_str()
                ),
            );
            return None;
        }
        [(_, by)] => reject_unfit_keys(context, *by, raw),
        [_, (second, _), ..] => {
            context.wrong(
                *second,
                "a stream has one of `file`, `command`, `journal` and `push`, not several (make two streams)",
            );
            return None;
        }
    }
    if let Some(file) = file {
        return check_files(context, file, raw).map(SourceKind::File);
    }
    if let Some(command) = command {
        return check_process(context, command, raw, orphan_timeout).map(SourceKind::Process);
    }
    if let Some(journal) = journal {
        return check_journal(context, journal, raw).map(SourceKind::Journal);
    }
    push?.value.map(|_| SourceKind::Push)
}

/// Reports the keys that do not apply to a stream with this source.
fn reject_unfit_keys(context: &mut CheckContext<'_>, by: SourceKey, raw: &raw::Stream) {
    const COMMAND_ONLY: &[SourceKey] = &[SourceKey::Command];
    const FILE_ONLY: &[SourceKey] = &[SourceKey::File];
    /// Sources that have a position to begin at.
    const STORED_SOURCES: &[SourceKey] = &[SourceKey::File, SourceKey::Journal];
    /// An entry of the journal is already one line, and its text is UTF-8.
    const BYTE_SOURCES: &[SourceKey] = &[SourceKey::File, SourceKey::Command, SourceKey::Push];
    // Every key is named here, so that a new one cannot be accepted everywhere by mistake.
    let raw::Stream {
        // The sources, of which the stream has exactly one.
        file: _,
        command: _,
        journal: _,
        push: _,
        // Keys for every source.
        max_line: _,
        progress: _,
        redact: _,
        private: _,
        public: _,
        description: _,
        labels: _,
        history: _,
        // Keys for some sources.
        shell,
        from,
        exclude,
        rotate_wait,
        rotated,
        follow_symlinks,
        directory,
        environment,
        environment_file,
        user,
        group,
        umask,
        pty,
        input,
        start,
        restart,
        stop,
        orphan_timeout,
        carriage_return,
        format,
        encoding,
        multiline,
    } = raw;
    let keys = [
        ("directory", COMMAND_ONLY, location(directory.as_ref())),
        ("environment", COMMAND_ONLY, location(environment.as_ref())),
        ("environment_file", COMMAND_ONLY, location(environment_file.as_ref())),
        ("shell", COMMAND_ONLY, location(shell.as_ref())),
        ("user", COMMAND_ONLY, location(user.as_ref())),
        ("group", COMMAND_ONLY, location(group.as_ref())),
        ("umask", COMMAND_ONLY, location(umask.as_ref())),
        ("pty", COMMAND_ONLY, location(pty.as_ref())),
        ("input", COMMAND_ONLY, location(input.as_ref())),
        ("start", COMMAND_ONLY, location(start.as_ref())),
        ("restart", COMMAND_ONLY, location(restart.as_ref())),
        ("stop", COMMAND_ONLY, location(stop.as_ref())),
        ("orphan_timeout", COMMAND_ONLY, location(orphan_timeout.as_ref())),
        ("exclude", FILE_ONLY, location(exclude.as_ref())),
        ("rotate_wait", FILE_ONLY, location(rotate_wait.as_ref())),
        ("rotated", FILE_ONLY, location(rotated.as_ref())),
        ("follow_symlinks", FILE_ONLY, location(follow_symlinks.as_ref())),
        ("from", STORED_SOURCES, location(from.as_ref())),
        ("carriage_return", BYTE_SOURCES, location(carriage_return.as_ref())),
        ("format", BYTE_SOURCES, location(format.as_ref())),
        ("encoding", BYTE_SOURCES, location(encoding.as_ref())),
        ("multiline", BYTE_SOURCES, location(multiline.as_ref())),
    ];
    for (key, fits, at) in keys {
        if let Some(at) = at.filter(|_| !fits.contains(&by)) {
            let fits = fits.iter().map(|by| format!("`{}`", by.key())).collect::<Vec<_>>();
            let fits = word_list(&fits, "or");
            context.wrong(at, format!("`{key}` applies only to streams with {fits}; this stream {}", by.does()));
        }
    }
}

/// The location of a key that is written, whether or not its value is valid.
fn location<T>(field: Option<&Located<T>>) -> Option<NodeLocation> {
    field.map(|at| at.location)
}
