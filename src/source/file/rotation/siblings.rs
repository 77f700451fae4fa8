//! The siblings of a file: the current name of a rotated file, and the files that came between it and the newest one.
//!
//! A directory is listed name by name while others rename in it, so that a listing may lack a file that existed all the
//! time. [`Siblings::settled_stamp`] says whether the listing was complete; a caller that must not miss a file lists
//! again until it is.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::mem;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, StatxFlags};
use tokio::time::Instant;

use super::location::LogLocation;
use crate::source::file::fingerprint::{Identity, statx_nanos, unix_nanos};
use crate::source::file::open_file::FileOpener;
use crate::source::file::target::is_missing;

/// Directory listings, each taken at one moment of a pass over a stream: 2,000 files that rotate at once need one
/// listing.
#[derive(Debug, Default)]
pub(crate) struct DirectoryIndex {
    opener: FileOpener,
    directories: HashMap<PathBuf, DirectoryListing>,
    /// The number of times that a large directory was listed again in this pass.
    again: u32,
}

/// The maximum number of repeated listings of large directories in one pass; a further one waits for the next pass.
const MAX_RELISTS_PER_PASS: u32 = 4;

/// A directory with more names than this is large.
const LARGE_DIRECTORY_NAMES: usize = 512;

/// The time for which the clock of a file system may stand still, in nanoseconds.
pub(crate) const FILE_CLOCK_TICK_NANOS: u64 = 10_000_000;

/// A file that is not found for this long is considered gone, even if its directory never stopped changing.
const MAX_SEARCH_TIME: Duration = Duration::from_millis(50);

/// The maximum number of names in one directory that are examined.
const MAX_DIRECTORY_NAMES: usize = 200_000;

#[derive(Debug)]
struct DirectoryListing {
    began: Instant,
    /// The modification time of the directory in nanoseconds since the Unix epoch, if nothing changed during the
    /// listing.
    stamp: Option<u64>,
    names: BTreeMap<OsString, u64>,
    inodes: HashMap<u64, OsString>,
}

impl DirectoryListing {
    /// Lists a directory. One that cannot be listed is treated as empty.
    fn of(directory: &Path, opener: &FileOpener) -> Self {
        let began = Instant::now();
        let before = stamp(directory);
        let (mut names, mut inodes) = (BTreeMap::new(), HashMap::new());
        let entries = opener.directory(directory).and_then(|opened| Ok(Dir::new(opened)?));
        for entry in entries.into_iter().flatten().flatten().take(MAX_DIRECTORY_NAMES) {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                inodes.insert(entry.ino(), name.to_owned());
                names.insert(name.to_owned(), entry.ino());
            }
        }
        let stamp = before.filter(|before| stamp(directory) == Some(*before));
        Self { began, stamp, names, inodes }
    }
}

/// The modification time of a directory, if it is old enough that another change would alter it; 0 if there is no such
/// directory.
fn stamp(directory: &Path) -> Option<u64> {
    let metadata = match fs::metadata(directory) {
        Err(error) if is_missing(&error) => return Some(0),
        metadata => metadata.ok()?,
    };
    let changed = unix_nanos(metadata.modified().ok()?);
    (unix_nanos(SystemTime::now()) > changed + FILE_CLOCK_TICK_NANOS).then_some(changed)
}

/// The [`stamp`] of all directories in which the siblings at a location are.
pub(crate) fn stamp_of(location: &LogLocation) -> Option<u64> {
    location.listed_directories().try_fold(0, |all, (directory, _)| Some(combine(all, stamp(directory)?)))
}

/// One stamp for several directories.
fn combine(stamps: u64, next: u64) -> u64 {
    stamps.wrapping_mul(31).wrapping_add(next)
}

/// A file that a rotation left next to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sibling {
    /// The birth time, or the modification time if that is not known; in nanoseconds since the Unix epoch.
    pub(crate) age: u64,
    /// The number at the end of the name, if there is one.
    number: Option<u64>,
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    /// The modification time.
    pub(super) written: u64,
    pub(crate) size: u64,
    owner: u32,
    /// The file of which this is a copy, if it is one that was made before the other file was truncated and renamed: the
    /// copy has the lines before those of the other file.
    pub(super) copied_from: Option<Identity>,
}

impl Sibling {
    /// The file with this name in a directory; `None` if the name is not a regular file, or is gone.
    fn of(directory: &OwnedFd, name: &OsStr, path: PathBuf) -> Option<Self> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
        let is_file = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
        let (identity, written) = (Identity::from(&stat), statx_nanos(&stat.stx_mtime));
        let age = if identity.born == 0 { written } else { identity.born };
        is_file.then(|| Self {
            age,
            number: count(name),
            path,
            identity,
            written,
            size: stat.stx_size,
            owner: stat.stx_uid,
            copied_from: None,
        })
    }
}

#[cfg(test)]
impl Sibling {
    pub(super) fn test(age: u64, identity: Identity, path: PathBuf) -> Self {
        Self { age, number: None, path, identity, written: age, size: 0, owner: 0, copied_from: None }
    }
}

/// All files that rotations left next to a path, the oldest first as far as the system knows. See
/// [`order`](Self::order).
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    pub(crate) files: Vec<Sibling>,
    /// The [`stamp`] of the directory, if no file can have been missed.
    pub(crate) settled_stamp: Option<u64>,
    /// The direction of numbers: whether a higher one belongs to the newer file; `None` if it is not known.
    counts_up: Option<bool>,
}

impl Siblings {
    fn new(mut files: Vec<Sibling>, calm: Option<u64>) -> Self {
        files.sort_by(|one, other| (one.age, &one.path).cmp(&(other.age, &other.path)));
        files.dedup_by_key(|sibling| sibling.identity);
        let counts_up = counts_up(&files, |old, new| old < new).or_else(|| counts_up(&files, |old, new| old <= new));
        Self { files, settled_stamp: calm, counts_up }
    }

    /// Sorts files that were created within one tick of the file system's clock by their numbers. The direction of the
    /// numbers is known from other files or from `before`, or is assumed to be the usual one: a higher number is older.
    /// A later date is newer. A copy comes before its original. Returns the direction that is known now.
    pub(crate) fn order(&mut self, before: Option<bool>) -> Option<bool> {
        self.counts_up = self.counts_up.or(before);
        let in_order = |sibling: &Sibling| {
            let number = sibling.number.map(i128::from);
            let number = number.map(|number| if self.counts_up == Some(true) { number } else { -number });
            let written = number.filter(|_| self.counts_up.is_none()).map(|_| sibling.written);
            (sibling.age, written, number)
        };
        self.files.sort_by_key(in_order);
        self.move_copies();
        self.counts_up
    }

    /// Moves each copy before its original. When a copy is made, the newest file that is not one itself is the original.
    fn move_copies(&mut self) {
        let (mut ordered, mut copies, mut original) = (Vec::with_capacity(self.files.len()), Vec::new(), None);
        for mut sibling in mem::take(&mut self.files) {
            sibling.copied_from = original
                .as_ref()
                .filter(|original| self.is_copied(original, &sibling))
                .map(|original| original.identity);
            if sibling.copied_from.is_some() {
                copies.push(sibling);
            } else {
                ordered.append(&mut copies);
                ordered.extend(original.replace(sibling));
            }
        }
        ordered.append(&mut copies);
        ordered.extend(original);
        self.files = ordered;
    }

    /// Returns whether a file that was created after `original` is a copy of it: its name says that it is older, and the
    /// original was written to or truncated after that.
    fn is_copied(&self, original: &Sibling, sibling: &Sibling) -> bool {
        self.is_newer_by_name(original, sibling) && original.written >= sibling.age
    }

    fn is_newer_by_name(&self, sibling: &Sibling, old: &Sibling) -> bool {
        match (sibling.number, old.number) {
            (Some(number), Some(old)) if self.counts_up == Some(true) => number > old,
            (Some(number), Some(old)) => number < old,
            (None, None) => sibling.path > old.path,
            _ => false,
        }
    }

    /// The index of a file among the siblings.
    pub(crate) fn position(&self, identity: Identity) -> Option<usize> {
        self.files.iter().position(|sibling| sibling.identity == identity)
    }

    /// Returns whether `sibling`, which is not older than `old`, was at the path after it. A copy of `old` was also
    /// created after it but was never at the path: either its name says that it is older, or `old` was written to after
    /// the copy was made.
    pub(crate) fn follows(&self, sibling: &Sibling, old: &Sibling) -> bool {
        self.is_newer_by_name(sibling, old) || sibling.age >= old.written
    }
}

/// The direction of numbers, as most pairs of files tell of which one was created after the other. A copy is younger than
/// its original, which is renamed later: the original of a copy was written to after the copy was created. Only pairs of
/// which the last write to the older one and the creation of the newer one are in this `order` are counted.
fn counts_up(by_age: &[Sibling], order: fn(u64, u64) -> bool) -> Option<bool> {
    let is_successor = |pair: &&[Sibling]| pair[0].age < pair[1].age && order(pair[0].written, pair[1].age);
    let (mut up, mut down) = (0, 0);
    let successors = by_age.windows(2).filter(is_successor);
    for (older, newer) in successors.filter_map(|pair| pair[0].number.zip(pair[1].number)) {
        up += u32::from(older < newer);
        down += u32::from(older > newer);
    }
    (up != down).then_some(up > down)
}

/// The result of a search for a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SearchResult {
    Found(PathBuf),
    Gone,
    /// Names are changing: the search must be repeated in the next pass.
    Unclear,
}

impl DirectoryIndex {
    pub(crate) fn new(opener: FileOpener) -> Self {
        Self { opener, ..Self::default() }
    }

    /// Starts a new pass, in which everything may have changed.
    pub(crate) fn clear(&mut self) {
        self.directories.clear();
        self.again = 0;
    }

    /// Finds the current name of a file of a log. `since` is the time at which the search began.
    pub(crate) fn find(&mut self, location: &LogLocation, identity: Identity, since: Instant) -> SearchResult {
        let mut result = SearchResult::Gone;
        for directory in location.searched_directories() {
            match self.find_in(directory, identity, since) {
                SearchResult::Found(path) => return SearchResult::Found(path),
                SearchResult::Unclear => result = SearchResult::Unclear,
                SearchResult::Gone => {}
            }
        }
        result
    }

    fn find_in(&mut self, directory: &Path, identity: Identity, since: Instant) -> SearchResult {
        let mut fresh = None;
        loop {
            let Some(listing) = self.listing(directory, fresh) else { return SearchResult::Unclear };
            if let Some(name) = listing.inodes.get(&identity.inode) {
                let found = directory.join(name);
                if fs::symlink_metadata(&found).is_ok_and(|metadata| Identity::from(&metadata) == identity) {
                    return SearchResult::Found(found);
                }
            } else if listing.stamp.is_some() && stamp(directory) == listing.stamp {
                return SearchResult::Gone;
            }
            if fresh.is_some() {
                return if since.elapsed() > MAX_SEARCH_TIME { SearchResult::Gone } else { SearchResult::Unclear };
            }
            fresh = Some(Instant::now());
        }
    }

    /// The files of a log whose names a rotation gives, as they were after `since`; `None` if this pass cannot
    /// determine them.
    pub(crate) fn rotated(&mut self, location: &LogLocation, since: Option<Instant>) -> Option<Siblings> {
        let Some(name) = location.siblings_path().file_name() else { return Some(Siblings::default()) };
        let stem = Path::new(name).file_stem().unwrap_or(name);
        let (mut found, mut calm) = (Vec::new(), Some(0));
        for (directory, has_own_name) in location.listed_directories() {
            let listing = self.listing(directory, since)?;
            let same_stem = listing.names.range::<OsStr, _>((Bound::Included(stem), Bound::Unbounded));
            let same_stem =
                same_stem.map(|(other, _)| other).take_while(|other| other.as_bytes().starts_with(stem.as_bytes()));
            let is_ours = |other: &&OsString| is_rotated(name, other) || (has_own_name && other.as_os_str() == name);
            let rotated: Vec<OsString> = same_stem.filter(is_ours).cloned().collect();
            let listed = listing.stamp;
            // The directory is opened once, since a different directory may be at the path by now.
            let opened = if rotated.is_empty() { None } else { self.opener.directory(directory).ok() };
            found.extend(opened.iter().flat_map(|opened| {
                rotated.iter().filter_map(move |other| Sibling::of(opened, other, directory.join(other)))
            }));
            // Names may have moved from one file to another since the listing.
            let listed = listed.filter(|listed| stamp(directory) == Some(*listed));
            calm = calm.zip(listed).map(|(all, listed)| combine(all, listed));
        }
        found.retain(|sibling| location.takes_owner(sibling.owner));
        Some(Siblings::new(found, calm))
    }

    fn listing(&mut self, directory: &Path, since: Option<Instant>) -> Option<&DirectoryListing> {
        if let Some(known) = self.directories.get(directory)
            && since.is_some_and(|since| known.began < since)
        {
            if known.names.len() > LARGE_DIRECTORY_NAMES {
                if self.again == MAX_RELISTS_PER_PASS {
                    return None;
                }
                self.again += 1;
            }
            self.directories.remove(directory);
        }
        let Self { opener, directories, .. } = self;
        Some(directories.entry(directory.to_owned()).or_insert_with(|| DirectoryListing::of(directory, opener)))
    }
}

/// The rotation number at the end of a name, if there is one: `app.log.12`, but not a date.
fn count(name: &OsStr) -> Option<u64> {
    let mark = Path::new(name).extension()?.to_str()?;
    if mark.len() < 6 { mark.parse().ok() } else { None }
}

/// Returns whether `other` is a name that a rotation gives to the file `name`: `app.log.1`, `app.log-20261124`,
/// `app-2026-11-24.log`, `app.log.old`.
fn is_rotated(name: &OsStr, other: &OsStr) -> bool {
    let (name, other) = (name.as_bytes(), other.as_bytes());
    if let Some(suffix) = other.strip_prefix(name) {
        return is_rotation_mark(suffix);
    }
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > 0) else { return false };
    let (stem, extension) = name.split_at(dot);
    let between = other.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension));
    between.is_some_and(is_rotation_mark)
}

/// The paths whose files a rotation would rename to `path`, judged by the name.
pub(crate) fn originals(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let stem = path.file_stem().unwrap_or_default().as_bytes();
    let extension = &name[stem.len()..];
    let cuts = |text: &[u8]| {
        let cut = |at: &usize| *at > 0 && is_rotation_mark(&text[*at..]);
        (0..text.len()).filter(cut).collect::<Vec<_>>()
    };
    let whole = cuts(name).into_iter().map(|at| name[..at].to_vec());
    let inner = cuts(stem).into_iter().map(|at| [&stem[..at], extension].concat());
    whole.chain(inner).map(|name| path.with_file_name(OsStr::from_bytes(&name))).collect()
}

/// Returns whether a suffix is a separator with a number or date, or a word for the previous file.
fn is_rotation_mark(mark: &[u8]) -> bool {
    let word = matches!(mark, b".old" | b".bak" | b".prev" | b"~" | b"-old" | b"_old");
    let dated = matches!(mark.first(), Some(b'.' | b'-' | b'_'))
        && mark.iter().all(|byte| byte.is_ascii_digit() || b".-_:TZ+".contains(byte))
        && mark.iter().any(u8::is_ascii_digit);
    word || dated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::TestDirectory;

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
    fn a_rotated_name_says_which_file_it_was() {
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

    fn numbered(directory: &TestDirectory, numbers: impl IntoIterator<Item = u32>, apart: bool) {
        for number in numbers {
            directory.write(&format!("log.{number}"), "x");
            if apart {
                std::thread::park_timeout(Duration::from_nanos(2 * FILE_CLOCK_TICK_NANOS));
            }
        }
    }

    fn names(index: &mut DirectoryIndex, directory: &TestDirectory) -> Vec<String> {
        let mut siblings =
            index.rotated(&LogLocation::new(directory.path("log"), [].into()), Some(Instant::now())).unwrap();
        siblings.order(None);
        siblings.files.iter().map(|it| it.path.extension().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn rotated_files_come_in_the_order_in_which_they_were_made() {
        let (directory, mut index) = (TestDirectory::new(), DirectoryIndex::default());
        directory.write("log", "0");
        directory.write("log.err", "another");
        numbered(&directory, [3, 2, 1], false);
        assert_eq!(names(&mut index, &directory), ["3", "2", "1"], "of one tick: a higher number is older");
    }

    #[test]
    fn names_that_count_up_are_known_by_those_that_were_made_apart() {
        let (directory, mut index) = (TestDirectory::new(), DirectoryIndex::default());
        numbered(&directory, [8, 9], true);
        numbered(&directory, [10, 11, 12], false);
        assert_eq!(names(&mut index, &directory), ["8", "9", "10", "11", "12"]);
    }

    #[test]
    fn copies_do_not_tell_the_direction_of_numbers() {
        /// The number, the time of creation and that of the last write.
        type Numbered = (u64, u64, u64);
        let table: [(&[Numbered], Option<bool>); 7] = [
            (&[(1, 10, 15), (2, 20, 25), (3, 30, 35)], Some(true)),
            (&[(3, 10, 15), (2, 20, 25), (1, 30, 35)], Some(false)),
            // 1 is a copy of 2, which was truncated, written to and then renamed; 3 of 4, and 5 of 6.
            (&[(2, 10, 25), (1, 20, 20), (4, 30, 45), (3, 40, 40), (6, 50, 65), (5, 60, 60)], Some(true)),
            (&[(1, 10, 25), (2, 20, 20)], None),
            // Within one tick of the clock, a copy and a successor look the same.
            (&[(1, 10, 20), (2, 20, 30), (3, 30, 40)], Some(true)),
            (&[(2, 10, 20), (1, 20, 20), (3, 30, 30), (4, 40, 40)], Some(true)),
            (&[(1, 10, 10)], None),
        ];
        for (files, expected) in table {
            let sibling = |&(number, age, written): &Numbered| {
                let identity = Identity { device: 1, inode: number, born: age };
                Sibling { number: Some(number), written, ..Sibling::test(age, identity, PathBuf::new()) }
            };
            let siblings = Siblings::new(files.iter().map(sibling).collect(), None);
            assert_eq!(siblings.counts_up, expected, "{files:?}");
        }
    }

    #[test]
    fn a_file_is_found_under_its_new_name_until_it_is_gone() {
        let directory = TestDirectory::new();
        let identity = Identity::from(&fs::metadata(directory.write("log.3", "3")).unwrap());
        let (mut index, location) = (DirectoryIndex::default(), LogLocation::new(directory.path("log"), [].into()));
        let find = |index: &mut DirectoryIndex| {
            let since = Instant::now();
            loop {
                match index.find(&location, identity, since) {
                    SearchResult::Unclear => index.clear(),
                    sought => return sought,
                }
            }
        };
        assert_eq!(find(&mut index), SearchResult::Found(directory.path("log.3")));
        fs::rename(directory.path("log.3"), directory.path("moved")).unwrap();
        assert_eq!(find(&mut index), SearchResult::Found(directory.path("moved")));
        fs::remove_file(directory.path("moved")).unwrap();
        assert_eq!(find(&mut index), SearchResult::Gone);
    }

    #[test]
    fn a_large_directory_is_listed_a_few_times_in_a_pass() {
        let (directory, mut index) = (TestDirectory::new(), DirectoryIndex::default());
        for n in 0..=LARGE_DIRECTORY_NAMES {
            directory.write(&format!("other{n}"), "");
        }
        let path = LogLocation::new(directory.path("log"), [].into());
        let again = (0..20).filter(|_| index.rotated(&path, Some(Instant::now())).is_some()).count();
        assert_eq!(again, 1 + usize::try_from(MAX_RELISTS_PER_PASS).unwrap());
        index.clear();
        assert!(index.rotated(&path, Some(Instant::now())).is_some());
    }
}
