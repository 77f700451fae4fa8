//! The context of a check: the base directories of relative paths, and the report of all mistakes.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::parse::located::Setting;
use crate::config::report::{ErrorReport, NodeLocation};
use crate::config::units::{DurationText, Size};

/// The facts that every part of the check needs, and the report that it writes.
pub(super) struct CheckContext<'r> {
    /// The directory of each file that was read, by the file's number.
    directories: Vec<PathBuf>,
    report: &'r mut ErrorReport,
}

/// A value that was written and is valid for its type, with its location.
pub(super) fn with_location<T>(field: Setting<T>) -> Option<(NodeLocation, T)> {
    field.and_then(|at| Some((at.location, at.value?)))
}

/// A value that was written and is valid for its type.
pub(super) fn value<T>(field: Setting<T>) -> Option<T> {
    with_location(field).map(|(_, value)| value)
}

/// The part of a path that a shell would replace: a home directory, a variable or a command.
fn shell_expansion(path: &str) -> Option<&str> {
    let first = path.split('/').next().unwrap_or_default();
    let home =
        first.strip_prefix('~').filter(|user| user.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)));
    if home.is_some() && (first.len() == 1 || path.len() > first.len()) {
        return Some(first);
    }
    let (_, variable) = path.split_once('$')?;
    let end = match variable.chars().next()? {
        '{' => variable.find('}')? + 1,
        '(' => variable.find(')')? + 1,
        c if c.is_ascii_digit() => return None,
        _ => variable.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(variable.len()),
    };
    let start = path.len() - variable.len() - 1;
    path.get(start..=start + end).filter(|_| end > 0)
}

impl<'r> CheckContext<'r> {
    pub(super) fn new(directories: Vec<PathBuf>, report: &'r mut ErrorReport) -> Self {
        Self { directories, report }
    }

    /// Reports that a value is wrong.
    pub(super) fn wrong(&mut self, at: NodeLocation, text: impl Into<String>) {
        self.report.wrong(at, text);
    }

    /// Reports that a value cannot work on this machine, although other streams can.
    pub(super) fn tolerable(&mut self, at: NodeLocation, text: String) {
        self.report.tolerable(at, text);
    }

    /// Reports that a name was already used at `first`.
    pub(super) fn duplicate(&mut self, name: &str, at: NodeLocation, first: NodeLocation) {
        self.report.add_duplicate(name, at, first);
    }

    /// The path, resolved against the directory of the file that contains it.
    pub(super) fn resolve_path(&mut self, location: NodeLocation, path: &str) -> Option<PathBuf> {
        if path.is_empty() {
            self.wrong(location, "empty path");
            return None;
        }
        if path.contains('\0') {
            self.wrong(location, "a path cannot hold a NUL");
            return None;
        }
        let absolute = self.directories.get(location.file)?.join(path);
        (absolute.exists() || self.is_written_out(location, path)).then_some(absolute)
    }

    /// Returns whether a path has nothing that a shell would replace; reports the first such part.
    pub(super) fn is_written_out(&mut self, location: NodeLocation, path: &str) -> bool {
        let Some(written) = shell_expansion(path) else { return true };
        self.wrong(
            location,
            format!("`{written}` is not replaced in a path as it would be by a shell (write the path out, such as /home/me/app.log)"),
        );
        false
    }

    /// The value if it is from `least` to `most`; otherwise the default, after a report.
    pub(super) fn in_range<T: PartialOrd + Display + Copy>(
        &mut self,
        field: Setting<T>,
        default: T,
        least: T,
        most: T,
    ) -> T {
        match with_location(field) {
            Some((location, value)) if value < least => {
                self.wrong(location, format!("{value} is too small (at least {least})"));
                default
            }
            Some((location, value)) if value > most => {
                self.wrong(location, format!("{value} is too large (at most {most})"));
                default
            }
            Some((_, value)) => value,
            None => default,
        }
    }

    /// Like [`in_range`](Self::in_range), for a size in bytes.
    pub(super) fn size(&mut self, field: Setting<Size>, default: usize, least: usize, most: usize) -> usize {
        let size = |bytes: usize| Size(u64::try_from(bytes).unwrap_or(u64::MAX));
        let chosen = self.in_range(field, size(default), size(least), size(most));
        usize::try_from(chosen.0).unwrap_or(usize::MAX)
    }

    /// Like [`in_range`](Self::in_range), for a duration without an upper bound.
    pub(super) fn duration_at_least(
        &mut self,
        field: Setting<DurationText>,
        default: Duration,
        least: Duration,
    ) -> Duration {
        self.in_range(field, DurationText(default), DurationText(least), DurationText(Duration::MAX)).0
    }

    /// Like [`in_range`](Self::in_range), for a duration without a lower bound.
    pub(super) fn duration_at_most(
        &mut self,
        field: Setting<DurationText>,
        default: Duration,
        most: Duration,
    ) -> Duration {
        self.in_range(field, DurationText(default), DurationText(Duration::ZERO), DurationText(most)).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_replace_is_found() {
        let table = [
            ("~/app.log", Some("~")),
            ("~", Some("~")),
            ("~joe/app.log", Some("~joe")),
            ("~joe", None),
            ("./~/app.log", None),
            ("/srv/a~/b", None),
            ("$HOME/app.log", Some("$HOME")),
            ("${LOG_DIR}/app.log", Some("${LOG_DIR}")),
            ("/var/log/app-$HOSTNAME.log", Some("$HOSTNAME")),
            ("/var/log/$(hostname).log", Some("$(hostname)")),
            ("/srv/${broken", None),
            ("/srv/cost-$5.log", None),
            ("/srv/a$", None),
            ("/srv/$/b", None),
            ("/srv/[$]HOME/b", None),
        ];
        for (path, expected) in table {
            assert_eq!(shell_expansion(path), expected, "{path}");
        }
    }
}
