//! The two threads that do the disk I/O for appenders: one writes, in the order of the jobs; one syncs each second.
//!
//! The sender of a job may stop waiting for it. Such a job must not take effect, so the writer cuts off the bytes that
//! it wrote.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::{error, warn};
use tokio::sync::{mpsc, oneshot};

use crate::event::{Time, lock};

use super::files::{HistoryFile, RecordOffset, StreamFiles, push_offset};
use super::recover::file_name;

/// The most jobs that wait for the writer; each stream has one or two at a time.
const MAX_QUEUED_WRITE_JOBS: usize = 256;

/// The time after which written data is synced to the disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// One job for one stream. `done` receives the result; if its receiver is gone before, the job must not take effect.
#[derive(Debug)]
pub(super) struct WriteJob {
    pub(super) stream_files: Arc<StreamFiles>,
    pub(super) operation: WriteOperation,
    pub(super) done: oneshot::Sender<io::Result<()>>,
}

#[derive(Debug)]
pub(super) enum WriteOperation {
    /// Begin a new file with these bytes, whose first event has the sequence number `seq`; drop old files beyond `most`
    /// bytes.
    Roll { seq: u64, bytes: Vec<u8>, most: u64 },
    /// Append these records.
    Append(RecordChunk),
    /// Drop files whose events are all older.
    Prune { before: Time },
}

/// Records to append to the newest file.
#[derive(Debug)]
pub(super) struct RecordChunk {
    pub(super) bytes: Vec<u8>,
    /// The offsets in `bytes` of some records.
    pub(super) offsets: Vec<RecordOffset>,
    /// `true` if the transaction ends with these records; before its end, a transaction is not committed.
    pub(super) whole: bool,
    /// The sequence number after the last event, and the time at which that event was read.
    pub(super) end: u64,
    pub(super) newest: Time,
}

/// The files that were written to and not synced yet; clones are the same set.
#[derive(Debug, Clone, Default)]
struct UnsyncedFiles(Arc<Mutex<HashMap<usize, Arc<File>>>>);

impl UnsyncedFiles {
    fn add(&self, file: Arc<File>) {
        lock(&self.0).insert(Arc::as_ptr(&file).addr(), file);
    }

    fn sync(&self) {
        let files = std::mem::take(&mut *lock(&self.0));
        for file in files.into_values() {
            if let Err(error) = file.sync_data() {
                let errno = error.raw_os_error();
                error!(file:?, errno = errno, error:% = error; "cannot sync the history, so its end may not be on the disk");
            }
        }
    }
}

/// The error of a job after the writer has ended.
pub(super) fn writer_gone() -> io::Error {
    io::Error::other("the thread that writes the history has ended")
}

/// The two threads.
#[derive(Debug)]
pub(super) struct WriterThreads {
    jobs: mpsc::Sender<WriteJob>,
    stop_syncing: SyncSender<()>,
    threads: [JoinHandle<()>; 2],
}

impl WriterThreads {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<WriteJob>(MAX_QUEUED_WRITE_JOBS);
        let (stop_syncing, stopped) = sync_channel(0);
        let dirty = UnsyncedFiles::default();
        let written = dirty.clone();
        let writer = thread::Builder::new().name("history".to_owned()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job.perform(&written);
            }
        })?;
        let syncer = thread::Builder::new().name("history-sync".to_owned()).spawn(move || {
            while stopped.recv_timeout(SYNC_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                dirty.sync();
            }
            dirty.sync();
        })?;
        Ok(Self { jobs, stop_syncing, threads: [writer, syncer] })
    }

    /// The sender for jobs.
    pub(super) fn jobs(&self) -> mpsc::Sender<WriteJob> {
        self.jobs.clone()
    }

    /// Waits until all jobs are done and synced. Waits forever while another sender of jobs exists.
    pub(super) fn join(self) {
        let [writer, syncer] = self.threads;
        drop(self.jobs);
        let wrote = writer.join();
        drop(self.stop_syncing);
        if wrote.and(syncer.join()).is_err() {
            error!("a thread of the history failed");
        }
    }
}

impl WriteJob {
    fn perform(self, dirty: &UnsyncedFiles) {
        let Self { stream_files, operation: act, done } = self;
        // The sender stopped waiting while the job was queued.
        if done.is_closed() {
            return;
        }
        match act {
            WriteOperation::Roll { seq, bytes, most } => {
                let outcome = begin_file(&stream_files, seq, &bytes).map(|file| dirty.add(file));
                let rolled = outcome.is_ok();
                send_outcome(done, outcome);
                if rolled {
                    drop_oldest_files(&stream_files, |total, _| total > most);
                }
            }
            WriteOperation::Append(added) => {
                let written = append_records(&stream_files, &added, dirty);
                commit_or_truncate(&stream_files, added, &written, done);
            }
            WriteOperation::Prune { before } => {
                drop_oldest_files(&stream_files, |_, oldest| oldest.newest < before);
                send_outcome(done, Ok(()));
            }
        }
    }
}

/// Sends the result, unless the receiver is gone.
fn send_outcome(done: oneshot::Sender<io::Result<()>>, outcome: io::Result<()>) {
    drop(done.send(outcome));
}

/// Begins a new file. The file before it is cut to its committed bytes.
fn begin_file(stream_files: &StreamFiles, seq: u64, bytes: &[u8]) -> io::Result<Arc<File>> {
    super::make_directory(&stream_files.directory)?;
    let path = stream_files.directory.join(file_name(seq));
    if stream_files.files().current.is_none() && !stream_files.files().list.is_empty() {
        // If the file has been removed, there is nothing to cut off.
        reopen(stream_files).map_or_else(drop, drop);
    }
    truncate_uncommitted(stream_files);
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(&path)?;
    let written = file.write_all_at(bytes, 0).and_then(|()| sync_directory(&stream_files.directory));
    if let Err(error) = written {
        // A file without its beginning is also skipped at the next start.
        drop(fs::remove_file(&path));
        return Err(error);
    }
    let file = Arc::new(file);
    let bytes = bytes.len() as u64;
    let mut files = stream_files.files();
    files.list.retain(|known| known.path != path);
    let offsets = Some(Arc::default());
    files.list.push_back(HistoryFile { path, first: seq, end: seq, bytes, newest: Time::default(), offsets });
    files.current = Some(file.clone());
    files.length = bytes;
    Ok(file)
}

/// Syncs the directory, so that the name of a new file survives a crash, too.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Appends records after the committed bytes, and after the earlier records of the same transaction.
fn append_records(stream_files: &StreamFiles, added: &RecordChunk, dirty: &UnsyncedFiles) -> io::Result<u64> {
    let (file, from) = {
        let files = stream_files.files();
        (files.current.clone(), files.length)
    };
    let file = match file {
        Some(file) => file,
        None => reopen(stream_files)?,
    };
    if stream_files.files().truncate_pending {
        file.set_len(from)?;
        stream_files.files().truncate_pending = false;
    }
    file.write_all_at(&added.bytes, from)?;
    dirty.add(file);
    Ok(from)
}

/// Opens the newest file of an earlier daemon, and cuts off uncommitted bytes.
fn reopen(stream_files: &StreamFiles) -> io::Result<Arc<File>> {
    let newest = stream_files.files().list.back().map(|stored| (stored.path.clone(), stored.bytes));
    let Some((path, bytes)) = newest else { return Err(io::Error::other("there is no file to write to")) };
    let file = Arc::new(OpenOptions::new().read(true).write(true).open(path)?);
    file.set_len(bytes)?;
    let mut files = stream_files.files();
    files.current = Some(file.clone());
    files.length = bytes;
    Ok(file)
}

/// Commits the written bytes, unless the sender stopped waiting or the write failed; in that case they are cut off.
fn commit_or_truncate(
    stream_files: &StreamFiles,
    added: RecordChunk,
    written: &io::Result<u64>,
    done: oneshot::Sender<io::Result<()>>,
) {
    {
        let mut files = stream_files.files();
        let outcome = written.as_ref().map(|_| ()).map_err(|error| io::Error::new(error.kind(), error.to_string()));
        // Sent under the lock: the receiver finds the records in the table.
        let counts = done.send(outcome).is_ok();
        if let (Ok(from), true) = (written, counts) {
            files.length = from + added.bytes.len() as u64;
            let length = files.length;
            if let Some(newest) = files.list.back_mut() {
                let offsets = newest.offsets.get_or_insert_default();
                for next in added.offsets {
                    push_offset(Arc::make_mut(offsets), RecordOffset { offset: from + next.offset, ..next });
                }
                if added.whole {
                    newest.end = added.end;
                    newest.newest = newest.newest.max(added.newest);
                    newest.bytes = length;
                }
            }
            return;
        }
    }
    truncate_uncommitted(stream_files);
}

/// Cuts off uncommitted bytes. If that fails, it is tried again before the next write.
fn truncate_uncommitted(stream_files: &StreamFiles) {
    let (file, bytes) = {
        let mut files = stream_files.files();
        let newest = files.list.back_mut();
        let bytes = newest.map_or(0, |newest| {
            if let Some(offsets) = &mut newest.offsets {
                Arc::make_mut(offsets).retain(|record| record.offset < newest.bytes);
            }
            newest.bytes
        });
        files.length = bytes;
        (files.current.clone(), bytes)
    };
    if let Some(file) = file
        && let Err(error) = file.set_len(bytes)
    {
        let (directory, errno) = (stream_files.directory.display(), error.raw_os_error());
        warn!(directory:%, errno = errno, error:% = error; "cannot cut off records that were not committed; trying again before the next write");
        stream_files.files().truncate_pending = true;
    }
}

/// Removes the oldest file while `too_much` is true for the size of all files and that file; never the newest file.
fn drop_oldest_files(stream_files: &StreamFiles, too_much: impl Fn(u64, &HistoryFile) -> bool) {
    loop {
        let oldest = {
            let mut files = stream_files.files();
            let total = files.list.iter().map(|file| file.bytes).sum();
            let old = files.list.len() > 1 && files.list.front().is_some_and(|oldest| too_much(total, oldest));
            if old { files.list.pop_front() } else { None }
        };
        let Some(oldest) = oldest else { return };
        if let Err(error) = fs::remove_file(&oldest.path) {
            let (path, errno) = (oldest.path.display(), error.raw_os_error());
            warn!(path:%, errno = errno, error:% = error; "cannot remove an old file of the history");
        }
    }
}
