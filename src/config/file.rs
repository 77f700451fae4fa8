//! The configuration of followed files, and of how bytes become lines. Keys of files take effect in `Tailer::new` and
//! `TailSettings` (`source/file`).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

/// The default time of silence after which a file that was rotated away or deleted is left: its writer may not have
/// noticed yet.
pub const DEFAULT_ROTATE_WAIT: Duration = Duration::from_secs(5);

/// The default time to wait for the next line that belongs to the same event.
pub const DEFAULT_MULTILINE_TIMEOUT: Duration = Duration::from_secs(1);

/// The most memory of a compiled expression, in bytes: enough for what people write.
const MAX_EXPRESSION_MEMORY: usize = 1 << 20;

/// Files to follow, as one stream.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSourceConfig {
    /// The files; at least one entry.
    pub files: Vec<FileSelector>,
    /// Patterns of files that are not followed although `files` has them; each matches a name, or a path if it contains
    /// a slash.
    pub exclude: Vec<String>,
    /// The start in existing files.
    pub from: ReadFrom,
    /// The time of silence after which a file that was rotated away or deleted is left, and the longest time for which
    /// its successor waits.
    pub rotate_wait: Duration,
    /// Further directories into which files are moved when they are rotated.
    pub rotated: Vec<PathBuf>,
    /// `true` if symlinks are followed whoever made them. Otherwise, in directories in which others than root and the
    /// daemon's user may write, only symlinks of these two are followed, and those whose owner also owns their target.
    pub follow_symlinks: bool,
}

impl FileSourceConfig {
    /// One file, with defaults for everything else.
    pub fn new(path: PathBuf) -> Self {
        Self::of(FileSelector::Path(path))
    }

    /// One file or the files of a pattern, with defaults for everything else.
    pub fn of(selector: FileSelector) -> Self {
        let files = vec![selector];
        let (exclude, from) = (Vec::new(), ReadFrom::default());
        Self { files, exclude, from, rotate_wait: DEFAULT_ROTATE_WAIT, rotated: Vec::new(), follow_symlinks: false }
    }
}

/// One file, or the files of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSelector {
    /// One file: absolute, not empty, as written.
    Path(PathBuf),
    /// The files of a pattern: absolute; `*`, `?`, `[a-z]` and `{a,b}` within a name, `**` for any directories.
    Pattern(PathBuf),
}

impl FileSelector {
    /// The selector for a path in a configuration: a path with `*`, `?`, `[` or `{` is a pattern.
    pub fn of_path(path: PathBuf) -> Self {
        let pattern = path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte));
        if pattern { Self::Pattern(path) } else { Self::Path(path) }
    }
}

/// The start in an existing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Start")]
pub enum ReadFrom {
    /// At the end: new lines are read. Of the files that exist at the first start, the last lines are read as well, 100 in all.
    #[default]
    End,
    /// At the start; everything in it is read.
    #[serde(rename = "start")]
    Beginning,
}

/// The encoding of the bytes of a source, by the names of the Encoding Standard (WHATWG).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextEncoding(pub &'static encoding_rs::Encoding);

impl Default for TextEncoding {
    /// UTF-8.
    fn default() -> Self {
        Self(encoding_rs::UTF_8)
    }
}

/// A text that is not the name of an encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an encoding: {0:?} (such as utf-8, utf-16le, utf-16be, latin1, windows-1252 or shift_jis)")]
pub struct BadEncoding(pub String);

impl std::str::FromStr for TextEncoding {
    type Err = BadEncoding;
    fn from_str(label: &str) -> Result<Self, BadEncoding> {
        let known = encoding_rs::Encoding::for_label_no_replacement(label.as_bytes());
        known.map(Self).ok_or_else(|| BadEncoding(label.chars().take(100).collect()))
    }
}

/// The rule by which lines are joined into one event.
#[derive(Debug, Clone, PartialEq)]
pub struct MultilineConfig {
    /// `true` if a matching line begins an event and others continue it, `false` for the other way round.
    pub begins: bool,
    /// The expression that lines are matched against.
    pub expression: ConfigRegex,
    /// The time to wait for the next line that may continue the event.
    pub timeout: Duration,
}

/// A regular expression; equal to another with the same text.
#[derive(Debug, Clone)]
pub struct ConfigRegex(pub Regex);

impl PartialEq for ConfigRegex {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl fmt::Display for ConfigRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl std::str::FromStr for ConfigRegex {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text).size_limit(MAX_EXPRESSION_MEMORY).build();
        built.map(Self).map_err(|error| {
            let why = error.to_string();
            let last = why.trim_end().lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("not a regular expression: {last}")
        })
    }
}
