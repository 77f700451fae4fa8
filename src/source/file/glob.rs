//! Path patterns: the files that match them, and the directories to watch for new files. No file is opened here; calls
//! block.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use log::warn;
use rustix::fs::{Dir, FileType};

use super::denied::OpenDenied;
use super::open_file::FileOpener;
use super::target::{is_missing, is_symlink};
use crate::event::StreamName;
use crate::source::file::watch::path_watch::nearest_existing_directory;
use crate::source::file::watch::watcher::{Mailbox, WatchGuard, Watcher};

/// The maximum number of files of one stream. A pattern that matches more is wider than intended.
const MAX_FILES_PER_STREAM: usize = 200_000;

/// The maximum directory depth that `**` matches.
const MAX_GLOB_DEPTH: usize = 32;

/// The maximum number of directories that are reported as not searchable.
const MAX_DENIED_DIRECTORIES: usize = 100;

/// The patterns of one stream.
#[derive(Debug)]
pub(super) struct Globs {
    stream: StreamName,
    patterns: Vec<GlobPattern>,
    exclude: ExcludeRules,
    watcher: Watcher,
    mailbox: Arc<Mailbox>,
    /// The directories in which the patterns are searched for.
    directories: HashMap<PathBuf, WatchedDirectory>,
    /// Watches for directories that do not exist yet.
    missing_watches: Vec<WatchGuard>,
    unwatched: Option<String>,
    /// The directories that may not be searched, each with the reason.
    denied: BTreeMap<PathBuf, String>,
    /// The number of the current scan: a directory with a lower number no longer exists.
    scan: u64,
}

#[derive(Debug)]
struct GlobPattern {
    written: PathBuf,
    /// The directories before the first component with a wildcard.
    base: PathBuf,
    parts: Vec<PatternPart>,
}

#[derive(Debug)]
enum PatternPart {
    Name(OsString),
    /// A name pattern, which also matches the name that is written like it, since names may contain brackets.
    Glob {
        written: OsString,
        glob: GlobMatcher,
        /// `true` if `*` also matches names that start with a dot (in a shell it does not).
        hidden: bool,
    },
    /// `**`: any number of directories, including none.
    AnyDirectories,
}

/// A component of a pattern: the index of the pattern, and the index of the component in it.
type PatternPosition = (usize, usize);

#[derive(Debug)]
struct WatchedDirectory {
    watch: Option<WatchGuard>,
    /// The pattern components that the names in this directory are matched against.
    positions: Vec<PatternPosition>,
    scan: u64,
}

/// Exclusions: patterns of file names, and patterns of whole paths.
#[derive(Debug, Default)]
struct ExcludeRules {
    names: Vec<GlobMatcher>,
    paths: Vec<GlobMatcher>,
}

impl Globs {
    pub(super) fn new(
        stream: StreamName,
        patterns: Vec<PathBuf>,
        exclude: &[String],
        watcher: Watcher,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let patterns = patterns.into_iter().map(GlobPattern::new).collect();
        let mut left_out = ExcludeRules::default();
        for text in exclude {
            let list = if text.contains('/') { &mut left_out.paths } else { &mut left_out.names };
            list.extend(matcher(text));
        }
        Self {
            stream,
            patterns,
            exclude: left_out,
            watcher,
            mailbox,
            directories: HashMap::new(),
            missing_watches: Vec::new(),
            unwatched: None,
            denied: BTreeMap::new(),
            scan: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The patterns as they are written in the configuration.
    pub(super) fn configured_patterns(&self) -> impl Iterator<Item = &Path> {
        self.patterns.iter().map(|pattern| &*pattern.written)
    }

    /// The reason why some new files, or changes of known files, are not notified.
    pub(super) fn unwatched(&self) -> Option<&str> {
        self.unwatched.as_deref()
    }

    /// The reason why one of the directories is not searched.
    pub(super) fn denial(&self) -> Option<&str> {
        self.denied.values().next().map(String::as_str)
    }

    /// Returns whether a pattern would match this path if a file existed there.
    pub(super) fn names(&self, path: &Path) -> bool {
        let named = |pattern: &GlobPattern| {
            let below = path.strip_prefix(&pattern.base).ok();
            below.is_some_and(|below| takes(&pattern.parts, &below.iter().collect::<Vec<_>>()))
        };
        let name = path.file_name().unwrap_or_default();
        self.patterns.iter().any(named) && !self.exclude.takes(path, name)
    }

    /// Returns all files that exist. From now on, new files are notified.
    pub(super) fn scan(&mut self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        self.scan += 1;
        self.missing_watches.clear();
        self.unwatched = None;
        let denied = std::mem::take(&mut self.denied);
        for at in 0..self.patterns.len() {
            let base = self.patterns[at].base.clone();
            let is_directory = |globs: &Self| globs.opener().metadata(&base).map(|found| found.is_dir());
            let known = is_directory(self);
            if let Err(error) = &known {
                self.deny(&base, error);
            }
            if known.unwrap_or(false) {
                self.walk(&base, (at, 0), 0, &mut found);
            } else if let Some((directory, name)) = nearest_existing_directory(&base) {
                match self.watcher.watch(directory, Some(name), &self.mailbox) {
                    Ok(watch) => self.missing_watches.push(watch),
                    Err(reason) => self.unwatched = Some(reason),
                }
                // The directory may have been created before it was watched for.
                if is_directory(self).unwrap_or(false) {
                    self.walk(&base, (at, 0), 0, &mut found);
                }
            }
        }
        for (path, reason) in self.denied.iter().filter(|(path, _)| !denied.contains_key(*path)) {
            warn!(stream:% = self.stream, directory:% = path.display(), error = reason.as_str(); "cannot list a directory");
        }
        let scan = self.scan;
        self.directories.retain(|_, node| node.scan == scan);
        found
    }

    fn opener(&self) -> &FileOpener {
        self.watcher.open_limit.opener()
    }

    /// Adds to `found` the files that appeared with `path`, for which a change was notified. Returns `false` if only a
    /// scan can find them.
    pub(super) fn handle_change(&mut self, path: &Path, found: &mut BTreeSet<PathBuf>) -> bool {
        let is_it = |watch: &WatchGuard| path.parent() == Some(watch.directory()) && path.file_name() == watch.name();
        if self.missing_watches.iter().any(is_it) {
            return false;
        }
        let node = path.parent().and_then(|directory| self.directories.get(directory));
        for position in node.map(|node| node.positions.clone()).unwrap_or_default() {
            self.visit(path, None, position, 0, found);
        }
        true
    }

    fn walk(&mut self, directory: &Path, position: PatternPosition, depth: usize, found: &mut BTreeSet<PathBuf>) {
        let (pattern, at) = position;
        if depth > MAX_GLOB_DEPTH {
            return;
        }
        let opened = match self.opener().directory(directory) {
            Ok(opened) => opened,
            Err(error) => return self.deny(directory, &error),
        };
        // The watch comes before the listing, so that a file created in between is notified.
        if !self.enter(directory, position) {
            return;
        }
        if let PatternPart::Name(name) = &self.patterns[pattern].parts[at] {
            let path = directory.join(name);
            return self.visit(&path, None, position, depth, found);
        }
        if matches!(self.patterns[pattern].parts[at], PatternPart::AnyDirectories) {
            self.walk(directory, (pattern, at + 1), depth, found);
        }
        for (name, kind) in names_in(opened) {
            if found.len() >= MAX_FILES_PER_STREAM {
                warn!(stream:% = self.stream, pattern:? = self.patterns[pattern].written; "the pattern matches more than {MAX_FILES_PER_STREAM} files; the others are not followed");
                return;
            }
            self.visit(&directory.join(name), kind, position, depth, found);
        }
    }

    /// Records that a directory may not be searched. A directory that the system does not let us list contains no files
    /// for us; the next scan tries it again.
    fn deny(&mut self, path: &Path, error: &io::Error) {
        if OpenDenied::of(error).is_some() && self.denied.len() < MAX_DENIED_DIRECTORIES {
            self.denied.insert(path.to_owned(), format!("cannot list {}: {error}", path.display()));
        }
    }

    /// Matches one name against a component of a pattern. `kind` is the file type from the directory listing.
    fn visit(
        &mut self,
        path: &Path,
        kind: Option<FileType>,
        (pattern, at): PatternPosition,
        depth: usize,
        found: &mut BTreeSet<PathBuf>,
    ) {
        let Some(name) = path.file_name() else { return };
        let parts = &self.patterns[pattern].parts;
        let part = &parts[at];
        if matches!(part, PatternPart::AnyDirectories) {
            // Symlinks are not descended into, since they may lead back to a parent directory.
            let is_directory = kind.map_or_else(
                || fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()),
                |kind| kind == FileType::Directory,
            );
            if is_directory && !is_hidden(name) {
                self.walk(path, (pattern, at), depth + 1, found);
            }
        } else if part.takes(name) {
            if at + 1 < parts.len() {
                match self.kind(path, kind, FileType::Directory) {
                    Ok(FileType::Directory) => self.walk(path, (pattern, at + 1), depth + 1, found),
                    Ok(_) => {}
                    Err(error) => self.deny(path, &error),
                }
            } else if !self.exclude.takes(path, name) && self.is_to_follow(path, kind) {
                found.insert(path.to_owned());
            }
        }
    }

    /// Returns whether a name is a file or a FIFO, or a symlink that leads to nothing yet or may not be followed: the code
    /// that follows it waits, or reports why.
    fn is_to_follow(&self, path: &Path, kind: Option<FileType>) -> bool {
        match self.kind(path, kind, FileType::RegularFile) {
            Ok(kind) => matches!(kind, FileType::RegularFile | FileType::Fifo),
            Err(error) if is_missing(&error) => is_symlink(path),
            Err(error) => matches!(OpenDenied::of(&error), Some(OpenDenied::Symlink { link, .. }) if link == path),
        }
    }

    /// The type of the file that a name leads to, with symlinks followed. If the type is `wanted`, the owners of the
    /// symlinks are checked when the file is opened; otherwise they are checked here, so that a refusal does not reveal
    /// what exists there.
    fn kind(&self, path: &Path, listed: Option<FileType>, wanted: FileType) -> io::Result<FileType> {
        let kind = |found: fs::Metadata| FileType::from_raw_mode(found.mode());
        match listed {
            Some(kind) if kind != FileType::Symlink => Ok(kind),
            Some(_) | None => match fs::metadata(path).map(kind) {
                Ok(kind) if kind == wanted => Ok(kind),
                Ok(_) | Err(_) => self.opener().metadata(path).map(kind),
            },
        }
    }

    /// Watches a directory. Returns `false` if this scan has searched it already.
    fn enter(&mut self, directory: &Path, position: PatternPosition) -> bool {
        let scan = self.scan;
        let node = self.directories.entry(directory.to_owned());
        let node = node.or_insert_with(|| WatchedDirectory { watch: None, positions: Vec::new(), scan: 0 });
        if node.scan == scan {
            let new = !node.positions.contains(&position);
            if new {
                node.positions.push(position);
            }
            return new;
        }
        (node.scan, node.positions) = (scan, vec![position]);
        if node.watch.as_ref().is_none_or(|watch| !watch.is_current()) {
            node.watch = None;
            match self.watcher.watch(directory, None, &self.mailbox) {
                Ok(watch) => node.watch = Some(watch),
                Err(reason) => self.unwatched = Some(reason),
            }
        }
        true
    }
}

impl GlobPattern {
    fn new(written: PathBuf) -> Self {
        let mut base = PathBuf::new();
        let mut parts = Vec::new();
        for part in written.components() {
            let text = part.as_os_str().to_string_lossy();
            let wild = text.contains(['*', '?', '[', '{']);
            match part {
                Component::Normal(_) if text == "**" => parts.push(PatternPart::AnyDirectories),
                Component::Normal(_) if wild => {
                    parts.extend(PatternPart::glob(&text));
                }
                Component::Normal(name) if !parts.is_empty() => parts.push(PatternPart::Name(name.to_owned())),
                other => base.push(other),
            }
        }
        if matches!(parts.last(), Some(PatternPart::AnyDirectories)) {
            parts.extend(PatternPart::glob("*"));
        }
        Self { written, base, parts }
    }
}

/// The names in a directory, each with its file type if the file system reports it.
fn names_in(directory: OwnedFd) -> impl Iterator<Item = (OsString, Option<FileType>)> {
    let entries = Dir::new(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let kind = Some(entry.file_type()).filter(|kind| *kind != FileType::Unknown);
        (name != "." && name != "..").then(|| (name.to_owned(), kind))
    })
}

/// Returns whether the components of a pattern match these names.
fn takes(parts: &[PatternPart], names: &[&OsStr]) -> bool {
    match (parts.split_first(), names.split_first()) {
        (None, None) => true,
        (Some((PatternPart::AnyDirectories, rest)), Some((name, below))) => {
            takes(rest, names) || (!is_hidden(name) && takes(parts, below))
        }
        (Some((part, rest)), Some((name, below))) => part.takes(name) && takes(rest, below),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl PatternPart {
    fn glob(text: &str) -> Option<Self> {
        let hidden = text.starts_with('.');
        matcher(text).map(|glob| Self::Glob { written: text.into(), glob, hidden })
    }

    fn takes(&self, name: &OsStr) -> bool {
        match self {
            Self::Name(wanted) => name == wanted,
            Self::Glob { written, glob, hidden } => {
                name == written || (*hidden || !is_hidden(name)) && glob.is_match(name)
            }
            Self::AnyDirectories => false,
        }
    }
}

impl ExcludeRules {
    fn takes(&self, path: &Path, name: &OsStr) -> bool {
        self.names.iter().any(|glob| glob.is_match(name)) || self.paths.iter().any(|glob| glob.is_match(path))
    }
}

/// Compiles a name pattern. The configuration was validated before, so a pattern that does not compile does not occur.
fn matcher(text: &str) -> Option<GlobMatcher> {
    GlobBuilder::new(text).literal_separator(true).build().ok().map(|glob| glob.compile_matcher())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::TestDirectory;

    fn globs(directory: &TestDirectory, patterns: &[&str], exclude: &[&str]) -> Globs {
        let patterns = patterns.iter().map(|pattern| directory.path(pattern)).collect();
        let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
        Globs::new("test".parse().unwrap(), patterns, &exclude, Watcher::new(), Arc::default())
    }

    fn names(directory: &TestDirectory, found: &BTreeSet<PathBuf>) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(directory.0.path()).unwrap().to_str().unwrap().to_owned();
        found.iter().map(name).collect()
    }

    #[test]
    fn patterns_find_their_files() {
        let directory = TestDirectory::new();
        let bracketed = ["[prod]/x.txt", "[prod]/{x}.txt", "p/x.txt"];
        for path in
            ["a.log", "b.log", "b.txt", ".c.log", "d/e.log", "d/f/g.log", "d/.h/i.log"].into_iter().chain(bracketed)
        {
            fs::create_dir_all(directory.path(path).parent().unwrap()).unwrap();
            directory.write(path, "x");
        }
        fs::create_dir(directory.path("dir.log")).unwrap();
        let table: &[(&[&str], &[&str], &[&str])] = &[
            (&["*.log"], &[], &["a.log", "b.log"]),
            (&[".*.log"], &[], &[".c.log"]),
            (&["[ab].log", "b.*"], &["*.txt"], &["a.log", "b.log"]),
            (&["*/*.log"], &[], &["d/e.log"]),
            (&["**/*.log"], &["b*"], &["a.log", "d/e.log", "d/f/g.log"]),
            (&["**/g.log"], &[], &["d/f/g.log"]),
            (&["d/**"], &[], &["d/e.log", "d/f/g.log"]),
            (&["{a,b}.{log,txt}"], &[], &["a.log", "b.log", "b.txt"]),
            (&["nowhere/*.log"], &[], &[]),
            (&["[prod]/x.txt"], &[], &["[prod]/x.txt", "p/x.txt"]),
            (&["[prod]/{x}.txt"], &[], &["[prod]/x.txt", "[prod]/{x}.txt", "p/x.txt"]),
        ];
        for (patterns, exclude, expected) in table {
            let mut globs = globs(&directory, patterns, exclude);
            assert_eq!(names(&directory, &globs.scan()), *expected, "{patterns:?}");
            assert!(
                expected.iter().all(|path| globs.names(&directory.path(path))) && !globs.names(&directory.path("x/y"))
            );
        }
        let path = directory.path("d/f/*");
        let mut of_path = globs(&directory, &["**/*.log"], &[path.to_str().unwrap()]);
        assert_eq!(names(&directory, &of_path.scan()), ["a.log", "b.log", "d/e.log"]);
    }

    #[test]
    fn later_files_are_found_through_notified_changes() {
        let directory = TestDirectory::new();
        let mut globs = globs(&directory, &["a/**/*.log"], &[]);
        assert!(globs.scan().is_empty());
        let mut found = BTreeSet::new();
        fs::create_dir_all(directory.path("a/b/c")).unwrap();
        directory.write("a/b/c/x.log", "x");
        assert!(!globs.handle_change(&directory.path("a"), &mut found), "only a scan can tell");
        assert_eq!(names(&directory, &globs.scan()), ["a/b/c/x.log"]);
        fs::create_dir_all(directory.path("a/d/e")).unwrap();
        directory.write("a/d/e/y.log", "y");
        assert!(globs.handle_change(&directory.path("a/d"), &mut found));
        assert_eq!(names(&directory, &found), ["a/d/e/y.log"]);
        assert!(globs.unwatched().is_none());
    }
}
