//! What memory holds and the disk does not: it is written as soon as the disk takes it, as one group of records, so that
//! a crash meanwhile leaves all of it out.

use std::collections::BTreeMap;
use std::io;

use log::info;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::segment::Numbering;

use super::recorder::{RECORD_RETRY_INTERVAL, Recorder, SegmentsInMemory, apply_checkpoints, gone};
use super::transaction::{NextEvent, Transaction};
use super::writer::{WriteJob, WriteOperation};

/// So many bytes are written at once.
const CATCH_UP_WRITE_SIZE: usize = 4 << 20;

/// What is not recorded.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Why.
    pub(super) reason: String,
    /// How it was numbered before; until there is a new file to begin with it.
    numbering: Option<Numbering>,
    /// The place after the last event that was handed over.
    submitted_end: u64,
    /// When to try again.
    retry_at: Instant,
    in_flight: Option<BacklogWrite>,
}

/// What was handed over.
#[derive(Debug)]
struct BacklogWrite {
    done: oneshot::Receiver<io::Result<()>>,
    /// The place after the last event in it; `None` for a new file.
    to: Option<u64>,
    /// Whether something that counts ends with it, and then which places it holds.
    whole: bool,
    places: BTreeMap<String, Option<String>>,
}

impl Backlog {
    /// From now on nothing is recorded. `numbering` is as it was up to now, and `end` what is recorded of it.
    pub(super) fn new(reason: String, numbering: Numbering, end: u64) -> Self {
        Self {
            reason,
            numbering: Some(numbering),
            submitted_end: end,
            retry_at: Instant::now() + RECORD_RETRY_INTERVAL,
            in_flight: None,
        }
    }
}

impl Recorder {
    /// One step to what memory holds and the disk does not. True when nothing is left.
    pub(super) async fn catch_up(&mut self, memory: &impl SegmentsInMemory) -> bool {
        let Some(behind) = &mut self.behind else { return true };
        let Some(flight) = &mut behind.in_flight else {
            tokio::time::sleep_until(behind.retry_at).await;
            let Ok(permit) = self.jobs.clone().reserve_owned().await else { return std::future::pending().await };
            let (act, flight, done) = self.next_backlog_write(memory);
            permit.send(WriteJob { volume: self.volume.clone(), operation: act, done });
            if let Some(behind) = &mut self.behind {
                behind.in_flight = Some(flight);
            }
            return false;
        };
        let outcome = (&mut flight.done).await.unwrap_or_else(|_| Err(gone()));
        let landed = behind.in_flight.take();
        let Some(landed) = landed else { return false };
        self.finish_backlog_write(landed, outcome, memory)
    }

    /// What to hand over next.
    fn next_backlog_write(
        &mut self,
        memory: &impl SegmentsInMemory,
    ) -> (WriteOperation, BacklogWrite, oneshot::Sender<io::Result<()>>) {
        let (done, outcome) = oneshot::channel();
        let mut flight = BacklogWrite { done: outcome, to: None, whole: true, places: BTreeMap::new() };
        let numbering = self.behind.as_ref().and_then(|behind| behind.numbering.clone());
        if let Some(numbering) = numbering {
            return (self.roll_file(&numbering), flight, done);
        }
        let from = self.behind.as_ref().map_or(self.end, |behind| behind.submitted_end);
        let (segments, numbering) = memory(from);
        let mut group = Transaction::new(from);
        let (mut size, mut end) = (0, from);
        let next = NextEvent::of(&numbering, from);
        for segment in &segments {
            if size > CATCH_UP_WRITE_SIZE {
                break;
            }
            size += segment.memory_size();
            group.events(segment, numbering.has_unknown_loss(end, segment.seq()));
            end = segment.end();
        }
        flight.whole = segments.last().is_none_or(|last| last.end() == end);
        if !flight.whole {
            flight.to = Some(end);
            return (WriteOperation::Append(group.part()), flight, done);
        }
        flight.to = Some(numbering.next());
        flight.places = std::mem::take(&mut self.pending_checkpoints);
        let places = flight.places.iter().map(|(key, place)| (key, place.as_ref()));
        group.places(next, places);
        if group.is_empty() {
            // All of it was dropped from memory meanwhile; what was handed over before still needs its end.
            group.opened(next, &self.boot);
        }
        (WriteOperation::Append(group.whole()), flight, done)
    }

    /// Something that was handed over is done. True when nothing is left.
    fn finish_backlog_write(
        &mut self,
        flight: BacklogWrite,
        outcome: io::Result<()>,
        memory: &impl SegmentsInMemory,
    ) -> bool {
        let Some(behind) = &mut self.behind else { return true };
        match (outcome, flight.to) {
            (Err(error), _) => {
                behind.reason = format!("the history cannot be written: {error}");
                behind.retry_at = Instant::now() + RECORD_RETRY_INTERVAL;
                // Nothing of what belongs together counts; it is all to be done again.
                behind.submitted_end = self.end;
                let newer = std::mem::replace(&mut self.pending_checkpoints, flight.places);
                self.pending_checkpoints.extend(newer);
                return false;
            }
            (Ok(()), None) => {
                behind.numbering = None;
                (self.opened, self.began) = (true, None);
            }
            (Ok(()), Some(to)) => {
                behind.submitted_end = to;
                if flight.whole {
                    self.end = to;
                    apply_checkpoints(&mut self.places, flight.places);
                }
            }
        }
        let numbering = memory(u64::MAX).1;
        let done = behind.numbering.is_none() && self.end == numbering.next() && self.pending_checkpoints.is_empty();
        if done {
            info!(directory:% = self.volume.directory.display(); "the history is written again");
            self.behind = None;
        }
        done
    }
}
