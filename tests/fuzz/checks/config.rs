//! Configurations: any file is one, or each mistake in it has its place and its words.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use rtlogd::config::{self, Config, ConfigErrors, MIN_MAX_LINE, MIN_STREAM_MEMORY};
use rtlogd::event::MAX_LINE;

/// A file as it is.
pub fn config(data: &[u8]) {
    let directory = tempfile::tempdir().expect("there is room for files");
    let path = directory.path().join("rtlogd.yaml");
    fs::write(&path, data).expect("there is room for a file");
    let read = config::load(&path);
    match &read {
        Ok(config) => makes_sense(config),
        Err(mistakes) => have_places(mistakes, &path, data),
    }
    assert_eq!(config::load(&path), read, "read again it says something else");
}

fn makes_sense(config: &Config) {
    assert!(!config.listen.is_empty());
    assert!(config.base_path.starts_with('/') && (config.base_path == "/" || !config.base_path.ends_with('/')));
    assert!(config.state_directory.as_ref().is_none_or(|path| path.is_absolute()));
    assert!(config.limits.connections > 0 && config.limits.per_address > 0);
    let names: HashSet<_> = config.streams.iter().map(|stream| &stream.name).collect();
    assert_eq!(names.len(), config.streams.len(), "two streams of one name");
    for stream in &config.streams {
        assert!((MIN_MAX_LINE..=MAX_LINE).contains(&stream.max_line), "{stream:?}");
        assert!(stream.history.memory >= MIN_STREAM_MEMORY, "{stream:?}");
    }
}

fn have_places(mistakes: &ConfigErrors, path: &Path, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // YAML has more line ends than one (1.2.2, section 5.4, and NEL, LS and PS from 1.1).
    let lines: Vec<&str> = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).collect();
    let count = mistakes.iter().count();
    assert!((1..=100).contains(&count), "{count} mistakes");
    for mistake in mistakes.iter() {
        assert_eq!(mistake.file, path, "{mistake}");
        assert!(!mistake.text.is_empty() && !mistake.text.chars().any(char::is_control), "{mistake:?}");
        // The message repeats the part in question, but not a whole file.
        assert!(mistake.text.len() < 4096, "{} bytes: {:.300}", mistake.text.len(), mistake.text);
        if let Some((line, column)) = mistake.location {
            assert!((1..=lines.len() + 1).contains(&line), "{mistake}: of {} lines", lines.len());
            let longest = text.split('\n').map(|line| line.chars().count()).max().unwrap_or_default();
            assert!((1..=longest + 2).contains(&column), "{mistake}: no line is so long");
        }
    }
    let shown = mistakes.to_string();
    let rest = usize::from(shown.lines().last().is_some_and(|line| line.starts_with("and ")));
    assert_eq!(shown.lines().count(), count + rest, "a mistake is a line: {shown}");
}
