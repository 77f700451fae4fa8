//! Checks that a stream has exactly one source, and only keys that apply to that source.

use crate::event::StreamName;

use crate::config::SourceKind;
use crate::config::parse::located::Setting;
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
) -> Option<SourceKind> {
    let (file, command, journal) = (raw.file.take(), raw.command.take(), raw.journal.take());
    let push = raw.push.take().filter(|at| at.value != Some(false));
    let mut written: Vec<_> = [
        (SourceKey::File, location(&file)),
        (SourceKey::Command, location(&command)),
        (SourceKey::Journal, location(&journal)),
        (SourceKey::Push, location(&push)),
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
        return check_process(context, command, raw).map(SourceKind::Process);
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
        description: _,
        labels: _,
        history: _,
        // Keys for some sources.
        shell,
        from,
        exclude,
        rotate_wait,
        follow_symlinks,
        directory,
        environment,
        user,
        pty,
        input,
        start,
        restart,
        stop,
        carriage_return,
        encoding,
        multiline,
    } = raw;
    let keys = [
        ("directory", COMMAND_ONLY, location(directory)),
        ("environment", COMMAND_ONLY, location(environment)),
        ("shell", COMMAND_ONLY, location(shell)),
        ("user", COMMAND_ONLY, location(user)),
        ("pty", COMMAND_ONLY, location(pty)),
        ("input", COMMAND_ONLY, location(input)),
        ("start", COMMAND_ONLY, location(start)),
        ("restart", COMMAND_ONLY, location(restart)),
        ("stop", COMMAND_ONLY, location(stop)),
        ("exclude", FILE_ONLY, location(exclude)),
        ("rotate_wait", FILE_ONLY, location(rotate_wait)),
        ("follow_symlinks", FILE_ONLY, location(follow_symlinks)),
        ("from", STORED_SOURCES, location(from)),
        ("carriage_return", BYTE_SOURCES, location(carriage_return)),
        ("encoding", BYTE_SOURCES, location(encoding)),
        ("multiline", BYTE_SOURCES, location(multiline)),
    ];
    for (key, fits, at) in keys {
        if let Some(at) = at.filter(|_| !fits.contains(&by)) {
            let fits = fits.iter().map(|by| format!("`{}`", by.key())).collect::<Vec<_>>().join(" or ");
            context.wrong(at, format!("`{key}` applies only to streams with {fits}; this stream {}", by.does()));
        }
    }
}

/// The location of a key that is written, whether or not its value is valid.
fn location<T>(field: &Setting<T>) -> Option<NodeLocation> {
    field.as_ref().map(|at| at.place)
}
