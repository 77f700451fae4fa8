//! Mistakes: collected by file and value while reading and checking, and reported with line and column at the end.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::event::one_line;

use crate::config::parse::yaml;

/// The most mistakes that are reported at once. More of them usually have one common cause, and finding the line of
/// each requires reading its file again.
const MAX_REPORTED_ERRORS: usize = 100;

/// The most characters of a name that a mistake repeats.
const MAX_REPORTED_NAME_LENGTH: usize = 100;

/// The location of a value: the number of its file, and its number in that file. Sorts by file, then as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeLocation {
    pub(super) file: usize,
    pub(super) node: usize,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// One mistake: its position, a description, and the expected form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, named as the caller named it.
    pub file: PathBuf,
    /// The line and column, counted from 1 (columns in characters); `None` if the mistake concerns the file as a whole.
    pub location: Option<(usize, usize)>,
    /// The description, with the expected form in parentheses.
    pub text: String,
}

/// All mistakes of a configuration; at least one. Displayed one on each line, in the order of files and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    mistakes: Vec<ConfigError>,
    omitted: usize,
}

impl ConfigErrors {
    /// The mistakes: at least one, and at most 100.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.mistakes.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(mistake: ConfigError) -> Self {
        Self { mistakes: vec![mistake], omitted: 0 }
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            write!(f, "{}{mistake}", if index > 0 { "\n" } else { "" })?;
        }
        if self.omitted > 0 { write!(f, "\nand {} more", self.omitted) } else { Ok(()) }
    }
}

impl fmt::Display for ConfigError {
    /// `FILE:LINE:COLUMN: what is wrong`, or `FILE: what is wrong`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", one_line(&self.file.display().to_string()))?;
        if let Some((line, column)) = self.location {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", one_line(&self.text))
    }
}

/// A mistake whose line has not been looked up yet.
#[derive(Debug)]
struct PendingError {
    at: NodeLocation,
    text: String,
    detail: ErrorDetail,
}

/// A detail that is added to a mistake once all mistakes are known.
#[derive(Debug)]
enum ErrorDetail {
    None,
    /// The location at which the name was first used.
    First(NodeLocation),
    /// The keys that the map may have. They are listed once, since people tend to make such a mistake several times.
    KnownKeys(&'static [&'static str]),
}

/// The mistakes so far.
#[derive(Debug, Default)]
pub(super) struct ErrorReport {
    pending: Vec<PendingError>,
    /// Mistakes that do not keep a daemon from serving everything else.
    tolerable: Vec<PendingError>,
    files: Vec<ConfigError>,
}

impl ErrorReport {
    /// Reports that a value is wrong.
    pub(super) fn wrong(&mut self, at: NodeLocation, text: impl Into<String>) {
        self.pending.push(PendingError { at, text: text.into(), detail: ErrorDetail::None });
    }

    /// Reports a mistake that `rtlogd check` refuses, but that makes no other stream wait: the machine may change while a
    /// daemon runs, and its source then reports what is wrong.
    pub(super) fn tolerable(&mut self, at: NodeLocation, text: String) {
        self.tolerable.push(PendingError { at, text, detail: ErrorDetail::None });
    }

    /// Makes tolerable mistakes as serious as the others.
    pub(super) fn tolerate_nothing(&mut self) {
        self.pending.append(&mut self.tolerable);
    }

    /// Reports that a key, which `text` names, is none of the keys `known`.
    pub(super) fn add_unknown_key(&mut self, at: NodeLocation, text: String, known: &'static [&'static str]) {
        self.pending.push(PendingError { at, text, detail: ErrorDetail::KnownKeys(known) });
    }

    /// Reports that a name was already used at `first`.
    pub(super) fn add_duplicate(&mut self, name: &str, at: NodeLocation, first: NodeLocation) {
        let name: String = name.chars().take(MAX_REPORTED_NAME_LENGTH).collect();
        self.pending.push(PendingError {
            at,
            text: format!("{name:?} is given twice"),
            detail: ErrorDetail::First(first),
        });
    }

    /// Reports that a file cannot be used.
    pub(super) fn file(&mut self, path: &Path, location: Option<(usize, usize)>, text: impl Into<String>) {
        self.files.push(ConfigError { file: path.to_owned(), location, text: text.into() });
    }

    /// `Ok` without a mistake; otherwise all mistakes, with lines looked up in `documents`.
    pub(super) fn finish(mut self, documents: &[Document]) -> Result<(), ConfigErrors> {
        self.pending.sort_by_key(|note| note.at);
        let all = self.pending.len() + self.files.len();
        let room = MAX_REPORTED_ERRORS.saturating_sub(self.files.len());
        let spot = |location: NodeLocation| {
            documents.get(location.file).map(|document| yaml::find(&document.text, location.node))
        };
        let path = |location: NodeLocation| {
            documents.get(location.file).map_or(PathBuf::new(), |document| document.path.clone())
        };
        let mut mistakes: Vec<ConfigError> = self.files.into_iter().take(MAX_REPORTED_ERRORS).collect();
        let mut listed = HashSet::new();
        for note in self.pending.into_iter().take(room) {
            let detail = match note.detail {
                ErrorDetail::None => String::new(),
                ErrorDetail::First(first) => spot(first).map_or_else(String::new, |(line, column)| {
                    format!(" (first at {}:{line}:{column})", path(first).display())
                }),
                ErrorDetail::KnownKeys(known) if listed.contains(known) => {
                    " (the mistake above lists the known keys)".into()
                }
                ErrorDetail::KnownKeys(known) => {
                    listed.insert(known);
                    format!(" (known here: {})", known.join(", "))
                }
            };
            let text = note.text + &detail;
            mistakes.push(ConfigError { file: path(note.at), location: spot(note.at), text: one_line(&text) });
        }
        let omitted = all - mistakes.len();
        // Sorted again by line: an alias has its value elsewhere, and a mistake in that value is reported for each use.
        let order = |path: &Path| documents.iter().position(|document| document.path == path);
        mistakes.sort_by_cached_key(|mistake| (order(&mistake.file), mistake.file.clone(), mistake.location));
        mistakes.dedup();
        if mistakes.is_empty() { Ok(()) } else { Err(ConfigErrors { mistakes, omitted }) }
    }
}
