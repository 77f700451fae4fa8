//! Which source a stream has, and which keys belong to it.

use crate::event::StreamName;

use super::SourceKind;
use super::check::Check;
use super::raw;
use super::report::Place;

/// What a stream can be filled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    File,
    Command,
    Journal,
    Push,
}

impl By {
    /// The key that says so.
    fn key(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Command => "command",
            Self::Journal => "journal",
            Self::Push => "push",
        }
    }

    /// What such a stream does.
    fn does(self) -> &'static str {
        match self {
            Self::File => "follows a file",
            Self::Command => "runs a command",
            Self::Journal => "follows the journal",
            Self::Push => "takes what is sent to it",
        }
    }
}

impl Check<'_> {
    /// The one source of a stream.
    pub(super) fn source(&mut self, name: &StreamName, place: Place, raw: &mut raw::Stream) -> Option<SourceKind> {
        let (file, command, journal) = (raw.file.take(), raw.command.take(), raw.journal.take());
        let push = raw.push.take().filter(|at| at.value != Some(false));
        let mut written: Vec<_> = [
            (By::File, file.as_ref().map(|at| at.place)),
            (By::Command, command.as_ref().map(|at| at.place)),
            (By::Journal, journal.as_ref().map(|at| at.place)),
            (By::Push, push.as_ref().map(|at| at.place)),
        ]
        .into_iter()
        .filter_map(|(by, place)| Some((place?, by)))
        .collect();
        written.sort_by_key(|(place, _)| *place);
        match written.as_slice() {
            [] => {
                self.report.wrong(
                    place,
                    format!(
                        "stream {:?} has no source (write `file: PATH`, `command: [PROGRAM, ...]`, `journal: {{}}` or \
                        `push: true`)",
                        name.as_str()
                    ),
                );
                return None;
            }
            [(_, by)] => self.unfit(*by, raw),
            [_, (second, _), ..] => {
                self.report.wrong(
                    *second,
                    "a stream has one of `file`, `command`, `journal` and `push`, not several (make two streams)",
                );
                return None;
            }
        }
        if let Some(file) = file {
            return self.files(file, raw).map(SourceKind::File);
        }
        if let Some(command) = command {
            return self.process(command, raw).map(SourceKind::Process);
        }
        if let Some(journal) = journal {
            return self.journal(journal, raw).map(SourceKind::Journal);
        }
        push?.value.map(|_| SourceKind::Push)
    }

    /// Notes what does not belong to a stream that is filled so.
    fn unfit(&mut self, by: By, raw: &raw::Stream) {
        const COMMAND: &[By] = &[By::Command];
        const FILE: &[By] = &[By::File];
        /// An entry of the journal is one line already, and its text is UTF-8.
        const BYTES: &[By] = &[By::File, By::Command, By::Push];
        let keys = [
            ("directory", COMMAND, raw.directory.as_ref().map(|at| at.place)),
            ("environment", COMMAND, raw.environment.as_ref().map(|at| at.place)),
            ("shell", COMMAND, raw.shell.as_ref().map(|at| at.place)),
            ("user", COMMAND, raw.user.as_ref().map(|at| at.place)),
            ("pty", COMMAND, raw.pty.as_ref().map(|at| at.place)),
            ("input", COMMAND, raw.input.as_ref().map(|at| at.place)),
            ("start", COMMAND, raw.start.as_ref().map(|at| at.place)),
            ("restart", COMMAND, raw.restart.as_ref().map(|at| at.place)),
            ("stop", COMMAND, raw.stop.as_ref().map(|at| at.place)),
            ("exclude", FILE, raw.exclude.as_ref().map(|at| at.place)),
            ("rotate_wait", FILE, raw.rotate_wait.as_ref().map(|at| at.place)),
            ("follow_symlinks", FILE, raw.follow_symlinks.as_ref().map(|at| at.place)),
            ("from", &[By::File, By::Journal], raw.from.as_ref().map(|at| at.place)),
            ("carriage_return", BYTES, raw.carriage_return.as_ref().map(|at| at.place)),
            ("encoding", BYTES, raw.encoding.as_ref().map(|at| at.place)),
            ("multiline", BYTES, raw.multiline.as_ref().map(|at| at.place)),
        ];
        for (key, fits, place) in keys {
            if let Some(place) = place.filter(|_| !fits.contains(&by)) {
                let fits = fits.iter().map(|by| format!("`{}`", by.key())).collect::<Vec<_>>().join(" or a ");
                self.report.wrong(place, format!("`{key}` is for a {fits}, this stream {}", by.does()));
            }
        }
    }
}
