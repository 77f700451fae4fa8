//! The files beside one: under which name a rotated file stands now, and which came between it and the newest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::identity::{Identity, nanos};

/// What directories hold, as it was within one turn of a stream: 2,000 files that rotate at once need one look.
#[derive(Debug, Default)]
pub(super) struct Index {
    directories: HashMap<PathBuf, Listing>,
    /// How often one was listed again in this turn, since it lacked what was sought.
    again: u32,
}

/// So often at most in one turn: what was deleted is not there however often one looks.
const AGAIN: u32 = 4;

/// The clock of a file system stands still for so long, in nanoseconds.
const TICK: u64 = 10_000_000;

/// Most names in one directory that are looked through.
const MOST_NAMES: usize = 200_000;

#[derive(Debug, Default)]
struct Listing {
    names: BTreeMap<OsString, u64>,
    inodes: HashMap<u64, OsString>,
}

impl Listing {
    /// What cannot be listed is empty.
    fn of(directory: &Path) -> Self {
        let mut listing = Self::default();
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.take(MOST_NAMES) {
            listing.inodes.insert(entry.ino(), entry.file_name());
            listing.names.insert(entry.file_name(), entry.ino());
        }
        listing
    }
}

/// A file that a rotation left beside another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sibling {
    /// When it was made, or last written to where that is not known; in nanoseconds since the Unix epoch.
    age: u64,
    number: Reverse<u64>,
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    written: u64,
    pub(super) size: u64,
}

impl Index {
    /// A new turn begins: all may have changed.
    pub(super) fn clear(&mut self) {
        self.directories.clear();
        self.again = 0;
    }

    /// Under which name the file stands beside `path`.
    pub(super) fn find(&mut self, path: &Path, identity: Identity) -> Option<PathBuf> {
        let directory = path.parent()?;
        let is_there = |listing: &Listing| {
            let found = directory.join(listing.inodes.get(&identity.inode)?);
            let metadata = fs::symlink_metadata(&found).ok()?;
            (Identity::from(&metadata) == identity).then_some(found)
        };
        let known = self.directories.contains_key(directory);
        if let Some(found) = is_there(self.listing(directory)) {
            return Some(found);
        }
        if !known || self.again == AGAIN {
            return None;
        }
        self.again += 1;
        self.directories.remove(directory);
        is_there(self.listing(directory))
    }

    /// The names beside `path` that a rotation gives, with their files: oldest first, as far as the system knows.
    pub(super) fn rotated(&mut self, path: &Path) -> Vec<Sibling> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
        let stem = Path::new(name).file_stem().unwrap_or(name);
        let listing = self.listing(directory);
        let from = (Bound::Excluded(stem), Bound::Unbounded);
        let named = listing.names.range::<OsStr, _>(from).map(|(other, _)| other);
        let named = named.take_while(|other| other.as_bytes().starts_with(stem.as_bytes()));
        let mut found: Vec<_> = named
            .filter(|other| is_rotated(name, other))
            .filter_map(|other| {
                let path = directory.join(other);
                let metadata = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
                let identity = Identity::from(&metadata);
                let written = metadata.modified().map_or(0, nanos);
                let age = if identity.born == 0 { written } else { identity.born };
                // Within one tick of the file system's clock the usual numbers decide: a higher one is older.
                Some(Sibling { age, number: Reverse(number(other)), path, identity, written, size: metadata.len() })
            })
            .collect();
        found.sort();
        found
    }

    /// The rotated files beside `path` that were made after `old`, which stands at `old_path` now; oldest first.
    ///
    /// When a file was made tells its place in the row whatever names mean: some count up and some down, some are dates. A
    /// copy of the file was made after it too, and is none of them: either its name says that it is older, or the file was
    /// written to after the copy was made.
    pub(super) fn newer(&mut self, path: &Path, old_path: &Path, old: Identity) -> Vec<Sibling> {
        let row = self.rotated(path);
        let Some(at) = row.iter().position(|sibling| sibling.identity == old) else { return Vec::new() };
        let written = row[at].written;
        let is_newer = |sibling: &Sibling| {
            let later = sibling.identity != old && sibling.age >= row[at].age;
            later && (is_later_name(&sibling.path, old_path) || sibling.age >= written)
        };
        let newer: Vec<_> = row.iter().filter(|sibling| is_newer(sibling)).cloned().collect();
        newer
    }

    /// The rotated files beside `path` that were made since that time, in nanoseconds since the Unix epoch; oldest first.
    pub(super) fn since(&mut self, path: &Path, time: u64) -> Vec<Sibling> {
        let mut row = self.rotated(path);
        row.retain(|sibling| sibling.identity.born >= time.saturating_sub(TICK));
        row
    }

    fn listing(&mut self, directory: &Path) -> &Listing {
        self.directories.entry(directory.to_owned()).or_insert_with(|| Listing::of(directory))
    }
}

/// A recorded time in milliseconds, so that what was made before it is not taken to be made [`since`](Index::since).
pub(super) fn after(millis: u64) -> u64 {
    millis.saturating_add(1).saturating_mul(1_000_000).saturating_add(TICK)
}

/// Whether by its name a rotated file is newer than another: of numbers the smaller is, of dates the greater.
fn is_later_name(path: &Path, other: &Path) -> bool {
    let plain = |path: &Path| {
        let mark = path.extension()?.as_bytes();
        (mark.len() < 5 && mark.iter().all(u8::is_ascii_digit)).then(|| number(path.as_os_str()))
    };
    match (plain(path), plain(other)) {
        (Some(number), Some(other)) => number < other,
        (None, None) => path > other,
        _ => false,
    }
}

/// The number at the end of a name.
fn number(name: &OsStr) -> u64 {
    let name = name.as_bytes();
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&name[name.len() - digits..]).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Whether `other` is a name that a rotation gives to the file `name`: `app.log.1`, `app.log-20261124`, `app-2026-11-24.log`,
/// `app.log.old`.
fn is_rotated(name: &OsStr, other: &OsStr) -> bool {
    let (name, other) = (name.as_bytes(), other.as_bytes());
    if let Some(suffix) = other.strip_prefix(name) {
        return is_mark(suffix);
    }
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > 0) else { return false };
    let (stem, extension) = name.split_at(dot);
    let between = other.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
    between.is_some_and(is_mark)
}

/// The paths that would be rotated to `path`, by its name.
pub(super) fn originals(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let stem = path.file_stem().unwrap_or_default().as_bytes();
    let extension = &name[stem.len()..];
    let cuts = |text: &[u8]| {
        let cut = |at: &usize| *at > 0 && is_mark(&text[*at..]);
        (0..text.len()).filter(cut).collect::<Vec<_>>()
    };
    let whole = cuts(name).into_iter().map(|at| name[..at].to_vec());
    let inner = cuts(stem).into_iter().map(|at| [&stem[..at], extension].concat());
    whole.chain(inner).map(|name| path.with_file_name(OsStr::from_bytes(&name))).collect()
}

/// A separator and a number or date, or one of the words that stand for the file before.
fn is_mark(mark: &[u8]) -> bool {
    let word = matches!(mark, b".old" | b".bak" | b".prev" | b"~" | b"-old" | b"_old");
    let dated = matches!(mark.first(), Some(b'.' | b'-' | b'_'))
        && mark.iter().all(|byte| byte.is_ascii_digit() || b".-_:TZ+".contains(byte))
        && mark.iter().any(u8::is_ascii_digit);
    word || dated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::bench::Place;

    #[test]
    fn names_that_a_rotation_gives() {
        for good in [
            "app.log.1",
            "app.log-20261124",
            "app.log.2026-11-24T10:00:00Z",
            "app-20261124.log",
            "app.1.log",
            "app.log.old",
        ] {
            assert!(is_rotated("app.log".as_ref(), good.as_ref()), "{good}");
        }
        for bad in
            ["app.log", "app.log.err", "app.log.1.gz", "app-error.log", "app.logs", "app", "xapp.log.1", "app2.log"]
        {
            assert!(!is_rotated("app.log".as_ref(), bad.as_ref()), "{bad}");
        }
    }

    #[test]
    fn a_rotated_name_tells_what_it_was() {
        let table: [(&str, &[&str]); 4] = [
            ("/d/app.log", &[]),
            ("/d/app.log.1", &["/d/app.log"]),
            ("/d/app-20261124.log", &["/d/app.log"]),
            ("/d/app.log-2026.11", &["/d/app.log", "/d/app.log-2026"]),
        ];
        for (path, expected) in table {
            let found = originals(Path::new(path));
            assert!(expected.iter().all(|one| found.contains(&PathBuf::from(one))), "{path}: {found:?}");
            assert!(!found.contains(&PathBuf::from(path)));
        }
    }

    #[test]
    fn a_file_is_found_under_its_new_name_and_those_after_it_in_order() {
        let place = Place::new();
        let mut identities = Vec::new();
        for n in ["3", "2", "1"] {
            let path = place.write(&format!("log.{n}"), n);
            identities.push(Identity::from(&fs::metadata(path).unwrap()));
        }
        place.write("log", "0");
        place.write("log.err", "another");
        let mut index = Index::default();
        assert_eq!(index.find(&place.path("log"), identities[0]), Some(place.path("log.3")));
        let newer: Vec<_> = index
            .newer(&place.path("log"), &place.path("log.3"), identities[0])
            .into_iter()
            .map(|it| it.path)
            .collect();
        assert_eq!(newer, [place.path("log.2"), place.path("log.1")]);
        fs::rename(place.path("log.3"), place.path("moved")).unwrap();
        assert_eq!(index.find(&place.path("log"), identities[0]), Some(place.path("moved")));
        fs::remove_file(place.path("moved")).unwrap();
        assert_eq!(index.find(&place.path("log"), identities[0]), None);
    }
}
