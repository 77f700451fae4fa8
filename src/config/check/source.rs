//! Checks that a stream has exactly one source, and only keys that apply to that source.

use crate::event::StreamName;

use crate::config::SourceKind;
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

/// Checks the one source of a stream.
pub(super) fn check_source(
    context: &mut CheckContext<'_>,
    name: &StreamName,
    place: NodeLocation,
    raw: &mut raw::Stream,
) -> Option<SourceKind> {
    let (file, command, journal) = (raw.file.take(), raw.command.take(), raw.journal.take());
    let push = raw.push.take().filter(|at| at.value != Some(false));
    let mut written: Vec<_> = [
        (SourceKey::File, file.as_ref().map(|at| at.place)),
        (SourceKey::Command, command.as_ref().map(|at| at.place)),
        (SourceKey::Journal, journal.as_ref().map(|at| at.place)),
        (SourceKey::Push, push.as_ref().map(|at| at.place)),
    ]
    .into_iter()
    .filter_map(|(by, place)| Some((place?, by)))
    .collect();
    written.sort_by_key(|(place, _)| *place);
    match written.as_slice() {
        [] => {
            context.wrong(
                place,
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
    /// An entry of the journal is already one line, and its text is UTF-8.
    const BYTE_SOURCES: &[SourceKey] = &[SourceKey::File, SourceKey::Command, SourceKey::Push];
    let keys = [
        ("directory", COMMAND_ONLY, raw.directory.as_ref().map(|at| at.place)),
        ("environment", COMMAND_ONLY, raw.environment.as_ref().map(|at| at.place)),
        ("shell", COMMAND_ONLY, raw.shell.as_ref().map(|at| at.place)),
        ("user", COMMAND_ONLY, raw.user.as_ref().map(|at| at.place)),
        ("pty", COMMAND_ONLY, raw.pty.as_ref().map(|at| at.place)),
        ("input", COMMAND_ONLY, raw.input.as_ref().map(|at| at.place)),
        ("start", COMMAND_ONLY, raw.start.as_ref().map(|at| at.place)),
        ("restart", COMMAND_ONLY, raw.restart.as_ref().map(|at| at.place)),
        ("stop", COMMAND_ONLY, raw.stop.as_ref().map(|at| at.place)),
        ("exclude", FILE_ONLY, raw.exclude.as_ref().map(|at| at.place)),
        ("rotate_wait", FILE_ONLY, raw.rotate_wait.as_ref().map(|at| at.place)),
        ("follow_symlinks", FILE_ONLY, raw.follow_symlinks.as_ref().map(|at| at.place)),
        ("from", &[SourceKey::File, SourceKey::Journal], raw.from.as_ref().map(|at| at.place)),
        ("carriage_return", BYTE_SOURCES, raw.carriage_return.as_ref().map(|at| at.place)),
        ("encoding", BYTE_SOURCES, raw.encoding.as_ref().map(|at| at.place)),
        ("multiline", BYTE_SOURCES, raw.multiline.as_ref().map(|at| at.place)),
    ];
    for (key, fits, place) in keys {
        if let Some(place) = place.filter(|_| !fits.contains(&by)) {
            let fits = fits.iter().map(|by| format!("`{}`", by.key())).collect::<Vec<_>>().join(" or ");
            context.wrong(place, format!("`{key}` applies only to streams with {fits}; this stream {}", by.does()));
        }
    }
}
