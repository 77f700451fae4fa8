//! Checks a stream that follows files, and the rules by which its lines are joined.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use globset::GlobBuilder;

use crate::config::parse::located::{Located, OneOrMany, Setting};
use crate::config::raw;
use crate::config::report::NodeLocation;
use crate::config::{DEFAULT_MULTILINE_TIMEOUT, DEFAULT_ROTATE_WAIT, FileSelector, FileSourceConfig, MultilineConfig};

use super::context::{CheckContext, value, with_location};

/// The longest `rotate_wait` and multiline `timeout`: waiting lines take memory, and an open file takes disk space.
const MAX_FILE_WAIT: Duration = Duration::from_hours(1);

/// Checks a stream that follows files.
pub(super) fn check_files(
    context: &mut CheckContext<'_>,
    file: Located<OneOrMany<String>>,
    raw: &mut raw::Stream,
) -> Option<FileSourceConfig> {
    let written = file.value?.0;
    if written.is_empty() {
        context.wrong(file.location, "the list is empty (write a path or a pattern, or several)");
    }
    let mut files = Vec::new();
    for Located { location, value } in written {
        let Some(path) = value.and_then(|path| context.resolve_path(location, &path)) else { continue };
        let path = FileSelector::of_path(path);
        match &path {
            FileSelector::Pattern(pattern) => check_pattern(context, location, pattern),
            FileSelector::Path(path) => check_is_no_directory(context, location, path),
        }
        if !files.contains(&path) {
            files.push(path);
        }
    }
    let exclude = check_exclude(context, raw.exclude.take(), &files);
    let from = value(raw.from.take()).unwrap_or_default();
    let rotate_wait = context.duration_at_most(raw.rotate_wait.take(), DEFAULT_ROTATE_WAIT, MAX_FILE_WAIT);
    let rotated = check_rotated(context, raw.rotated.take());
    let follow_symlinks = value(raw.follow_symlinks.take()).unwrap_or_default();
    Some(FileSourceConfig { files, exclude, from, rotate_wait, rotated, follow_symlinks })
}

fn check_is_no_directory(context: &mut CheckContext<'_>, location: NodeLocation, path: &Path) {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir() {
        let directory = path.display().to_string();
        let directory = directory.trim_end_matches('/');
        context.tolerable(
            location,
            format!("{directory}/ is a directory (write {directory}/*.log for some of its files, or {directory}/** for all files below it)"),
        );
    }
}

fn check_pattern(context: &mut CheckContext<'_>, location: NodeLocation, pattern: &Path) {
    for mistake in pattern_mistakes(pattern) {
        context.wrong(location, mistake);
    }
}

/// The mistakes in a pattern of files, at most one for each of its names.
pub(in crate::config) fn pattern_mistakes(pattern: &Path) -> Vec<String> {
    let mistake = |part: Component<'_>| {
        let part = part.as_os_str().to_string_lossy();
        if part.contains("**") && part != "**" {
            return Some(format!("`**` stands for whole directories (not within a name: {part:?})"));
        }
        let built = GlobBuilder::new(&part).literal_separator(true).build();
        built.err().map(|error| format!("not a pattern: {} in {part:?}", error.kind()))
    };
    pattern.components().filter_map(mistake).collect()
}

fn check_exclude(
    context: &mut CheckContext<'_>,
    field: Setting<OneOrMany<String>>,
    files: &[FileSelector],
) -> Vec<String> {
    let Some((location, list)) = with_location(field) else { return Vec::new() };
    if !files.is_empty() && files.iter().all(|file| matches!(file, FileSelector::Path(_))) {
        context.wrong(location, "`exclude` applies to patterns such as /var/log/*.log; this stream names its files");
    }
    let mut exclude = Vec::new();
    for Located { location, value } in list.0 {
        let Some(pattern) = value else { continue };
        // A pattern with a slash is matched against whole paths, and is resolved like any other path.
        let pattern = if pattern.contains('/') {
            context.resolve_path(location, &pattern).map(|path| path.to_string_lossy().into_owned())
        } else {
            Some(pattern)
        };
        let Some(pattern) = pattern else { continue };
        match GlobBuilder::new(&pattern).literal_separator(true).build() {
            Ok(_) if !pattern.is_empty() => exclude.push(pattern),
            Ok(_) => context.wrong(location, "empty pattern"),
            Err(error) => context.wrong(location, format!("not a pattern: {} in {pattern:?}", error.kind())),
        }
    }
    exclude
}

/// The maximum number of directories of rotated files: each is listed again after each rotation.
const MAX_ROTATED_DIRECTORIES: usize = 16;

fn check_rotated(context: &mut CheckContext<'_>, field: Setting<OneOrMany<String>>) -> Vec<PathBuf> {
    let Some((location, list)) = with_location(field) else { return Vec::new() };
    if list.0.len() > MAX_ROTATED_DIRECTORIES {
        context.wrong(location, format!("`rotated` has more than {MAX_ROTATED_DIRECTORIES} directories"));
    }
    let mut directories = Vec::new();
    for Located { location, value } in list.0 {
        let Some(written) = value else { continue };
        let Some(directory) = context.resolve_path(location, &written) else { continue };
        if matches!(FileSelector::of_path(directory.clone()), FileSelector::Pattern(_)) && !directory.exists() {
            context.wrong(location, "`rotated` names directories, not patterns (write each directory)");
        } else if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

/// Checks the rules by which lines are joined.
pub(super) fn check_multiline(
    context: &mut CheckContext<'_>,
    field: Setting<raw::MultilineConfig>,
) -> Option<MultilineConfig> {
    let (location, raw) = with_location(field)?;
    let timeout = context.duration_at_most(raw.timeout, DEFAULT_MULTILINE_TIMEOUT, MAX_FILE_WAIT);
    let (begins, expression) = match (raw.start, raw.r#continue) {
        (Some(start), Some(other)) => {
            let second = start.location.max(other.location);
            context.wrong(second, "`multiline` takes `start` or `continue`, not both (remove one of them)");
            return None;
        }
        (Some(start), None) => (true, start),
        (None, Some(other)) => (false, other),
        (None, None) => {
            context.wrong(
                location,
                "`multiline` must say which lines belong together (write `start: REGEX` or `continue: REGEX`)",
            );
            return None;
        }
    };
    let location = expression.location;
    match expression.value?.parse() {
        Ok(expression) => Some(MultilineConfig { begins, expression, timeout }),
        Err(error) => {
            context.wrong(location, error);
            None
        }
    }
}
