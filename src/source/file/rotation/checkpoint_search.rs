//! The search for the file of a checkpoint, under any of the log's names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::location::LogLocation;
use super::siblings::{SearchResult, Sibling, Siblings};
use crate::source::file::checkpoint::Checkpoint;
use crate::source::file::denied::OpenDenied;
use crate::source::file::fingerprint::{Identity, ReadPoint};
use crate::source::file::pass::PassContext;
use crate::source::file::reader::FileReader;
use crate::source::file::target::{is_missing, is_out_of_descriptors};

/// The search for the file of one checkpoint.
///
/// The content decides, and the inode says where to look first: at the path, then under the current name of the inode,
/// then among the siblings, which may be copies.
#[derive(Debug)]
pub(super) struct CheckpointSearch<'a> {
    location: &'a LogLocation,
    id: usize,
    saved: &'a Checkpoint,
}

/// The outcome of a search.
#[derive(Debug)]
pub(super) enum SearchOutcome {
    /// Reading continues at `point` of this file, which is at the path or was rotated away.
    Found {
        reader: Box<FileReader>,
        point: ReadPoint,
        at_path: bool,
        /// The name of the file with the checkpoint's inode, if that has other content by now.
        rewritten: Option<PathBuf>,
    },
    /// The content is gone.
    Lost { rewritten: Option<PathBuf> },
    /// The path names nothing and has no new sibling, so that the file may still come back.
    Waiting,
    /// Names are changing: the next pass searches again.
    Unclear,
}

impl<'a> CheckpointSearch<'a> {
    /// Creates a search on behalf of the path with the number `id`.
    pub(super) fn new(location: &'a LogLocation, id: usize, saved: &'a Checkpoint) -> Self {
        Self { location, id, saved }
    }

    /// Searches once; the first search was at `since`. `is_new` says which siblings have not been read.
    ///
    /// # Errors
    /// If the file, or the one at the path, cannot be opened or read now. It is not lost then.
    pub(super) fn run(
        &self,
        since: Instant,
        is_new: &dyn Fn(&Sibling) -> bool,
        pass: &mut PassContext<'_>,
    ) -> io::Result<SearchOutcome> {
        let mut denied = None;
        let at_path = match FileReader::open(self.location.path(), pass.open_limit) {
            Ok(reader) => Some(reader),
            Err(error) if error.raw_os_error().is_none() && OpenDenied::of(&error).is_none() => None,
            Err(error) if is_missing(&error) => None,
            Err(error) if OpenDenied::of(&error).is_none() && self.is_inode_at_path() => return Err(error),
            // The file may exist under another name.
            Err(error) => {
                denied = Some(error);
                None
            }
        };
        let exists = at_path.is_some();
        let mut same_content = None;
        if let Some(reader) = at_path
            && let Some(point) = self.point_in(&reader, pass)?
        {
            if reader.identity().same_inode(self.saved.identity()) {
                return Ok(SearchOutcome::Found { reader: Box::new(reader), point, at_path: true, rewritten: None });
            }
            same_content = Some((reader, point));
        }
        let rewritten = match pass.index.find(self.location, self.saved.identity(), since) {
            SearchResult::Found(path) => match self.point_at(&path, pass) {
                Ok(Some((reader, point))) => {
                    return Ok(SearchOutcome::Found {
                        reader: Box::new(reader),
                        point,
                        at_path: false,
                        rewritten: None,
                    });
                }
                Ok(None) => Some(path),
                Err(error) if is_missing(&error) => return Ok(SearchOutcome::Unclear),
                Err(error) => return Err(error),
            },
            SearchResult::Unclear => return Ok(SearchOutcome::Unclear),
            SearchResult::Gone => None,
        };
        if let Some((reader, point)) = same_content {
            return Ok(SearchOutcome::Found { reader: Box::new(reader), point, at_path: true, rewritten });
        }
        let siblings = pass.index.rotated(self.location, None).unwrap_or_default();
        if let Some((reader, point)) = self.find_copy(&siblings, is_new, pass)? {
            return Ok(SearchOutcome::Found { reader: Box::new(reader), point, at_path: false, rewritten });
        }
        if exists || rewritten.is_some() || siblings.files.iter().any(is_new) {
            return Ok(SearchOutcome::Lost { rewritten });
        }
        denied.map_or(Ok(SearchOutcome::Waiting), Err)
    }

    /// Finds the newest sibling with the content of the checkpoint: a copy of its file, or its file with another inode. What was
    /// seen of a file that was not read may be short, so that only a new sibling can be the one.
    fn find_copy(
        &self,
        siblings: &Siblings,
        is_new: &dyn Fn(&Sibling) -> bool,
        pass: &PassContext<'_>,
    ) -> io::Result<Option<(FileReader, ReadPoint)>> {
        for sibling in siblings.files.iter().rev().filter(|sibling| self.saved.at() > 0 || is_new(sibling)) {
            match self.point_at(&sibling.path, pass) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) if is_out_of_descriptors(&error) => return Err(error),
                // Another file, as far as is known.
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// The file at `path` and the point at which to continue in it; `None` if it has other content, or is none that is
    /// followed.
    ///
    /// # Errors
    /// If the file cannot be opened or read now.
    fn point_at(&self, path: &Path, pass: &PassContext<'_>) -> io::Result<Option<(FileReader, ReadPoint)>> {
        let reader = match FileReader::open(path, pass.open_limit) {
            Ok(reader) => reader,
            Err(error) if error.raw_os_error().is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        let point = self.point_in(&reader, pass)?;
        Ok(point.map(|point| (reader, point)))
    }

    /// The point at which to continue in a file; `None` if its content is not that of the checkpoint, or another path, or
    /// another checkpoint of this one, reads it.
    fn point_in(&self, reader: &FileReader, pass: &PassContext<'_>) -> io::Result<Option<ReadPoint>> {
        let found = reader.identity();
        let is_unread_copy = self.saved.at() == 0 && !found.is_same_file(self.saved.identity());
        if pass.claims.is_claimed_by_other(found, self.id) || (is_unread_copy && pass.claims.is_known(found)) {
            return Ok(None);
        }
        self.saved.read_point_in(reader.file()?, found)
    }

    /// Returns whether the path names the inode of the checkpoint.
    fn is_inode_at_path(&self) -> bool {
        fs::metadata(self.location.path())
            .is_ok_and(|metadata| Identity::from(&metadata).same_inode(self.saved.identity()))
    }
}
