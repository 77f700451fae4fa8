//! What is said of files to follow, and of how their bytes become lines.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

/// How long a file that was rotated away is read on, if nothing is said: a writer may not know yet.
pub const DEFAULT_ROTATE_WAIT: Duration = Duration::from_secs(1);

/// How long lines that belong together are waited for, if nothing is said.
pub const DEFAULT_MULTILINE_TIMEOUT: Duration = Duration::from_secs(1);

/// Most memory of a compiled expression, in bytes: enough for what people write.
const MAX_EXPRESSION_MEMORY: usize = 1 << 20;

/// Files to follow, as one stream.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSourceConfig {
    /// Which; at least one.
    pub files: Vec<FileSelector>,
    /// Files that are not followed though a pattern names them; each is a pattern of a name, or of a path if it has a slash.
    pub exclude: Vec<String>,
    /// Where to begin in what is there already.
    pub from: ReadFrom,
    /// How long a file that was rotated away or deleted is read on.
    pub rotate_wait: Duration,
    /// Whether symlinks are followed whoever made them. Otherwise, where others than root and the daemon's user may write, only
    /// those of these two, and those whose owner also owns what they lead to.
    pub follow_symlinks: bool,
}

impl FileSourceConfig {
    /// One file, and all else as it is if nothing is said.
    pub fn new(path: PathBuf) -> Self {
        let files = vec![FileSelector::Path(path)];
        let (exclude, from) = (Vec::new(), ReadFrom::default());
        Self { files, exclude, from, rotate_wait: DEFAULT_ROTATE_WAIT, follow_symlinks: false }
    }
}

/// One file, or those that a pattern names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSelector {
    /// This one: absolute, not empty, as written.
    Path(PathBuf),
    /// Those of this pattern: absolute; `*`, `?`, `[a-z]` and `{a,b}` within a name, `**` for any directories.
    Pattern(PathBuf),
}

impl FileSelector {
    /// A path as it is written in a configuration: one with `*`, `?`, `[` or `{` is a pattern.
    pub fn written(path: PathBuf) -> Self {
        let pattern = path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte));
        if pattern { Self::Pattern(path) } else { Self::Path(path) }
    }
}

/// Where to begin in a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Start")]
pub enum ReadFrom {
    /// With what is written from now on.
    #[default]
    End,
    /// With everything that is in it.
    #[serde(rename = "start")]
    Beginning,
}

/// How the bytes of a source are encoded, by the names of the Encoding Standard (WHATWG).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextEncoding(pub &'static encoding_rs::Encoding);

impl Default for TextEncoding {
    /// UTF-8.
    fn default() -> Self {
        Self(encoding_rs::UTF_8)
    }
}

/// A text that names no encoding.
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

/// Which lines are joined to one.
#[derive(Debug, Clone, PartialEq)]
pub struct MultilineConfig {
    /// A line that matches begins, and others go on; or it is the other way round.
    pub begins: bool,
    /// What a line is held against.
    pub expression: ConfigRegex,
    /// How long to wait for the next line that may go on.
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
