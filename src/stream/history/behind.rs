//! What memory holds and the disk does not: it is written as soon as the disk takes it, as one group of records, so that
//! a crash meanwhile leaves all of it out.

use std::collections::BTreeMap;
use std::io;

use log::info;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::stream::numbering::Numbering;

use super::group::{Group, Next};
use super::recorder::{Memory, RETRY, Recorder, gone, take_places};
use super::writer::{Act, Job};

/// So many bytes are written at once.
const CATCH_UP: usize = 4 << 20;

/// What is not recorded.
#[derive(Debug)]
pub(super) struct Behind {
    /// Why.
    pub(super) reason: String,
    /// How it was numbered before; until there is a new file to begin with it.
    numbering: Option<Numbering>,
    /// The place after the last event that was handed over.
    handed: u64,
    /// When to try again.
    retry: Instant,
    flight: Option<Flight>,
}

/// What was handed over.
#[derive(Debug)]
struct Flight {
    done: oneshot::Receiver<io::Result<()>>,
    /// The place after the last event in it; `None` for a new file.
    to: Option<u64>,
    /// Whether something that counts ends with it, and then which places it holds.
    whole: bool,
    places: BTreeMap<String, Option<String>>,
}

impl Behind {
    /// From now on nothing is recorded. `numbering` is as it was up to now, and `end` what is recorded of it.
    pub(super) fn new(reason: String, numbering: Numbering, end: u64) -> Self {
        Self { reason, numbering: Some(numbering), handed: end, retry: Instant::now() + RETRY, flight: None }
    }
}

impl Recorder {
    /// One step to what memory holds and the disk does not. True when nothing is left.
    pub(super) async fn catch_up(&mut self, memory: &impl Memory) -> bool {
        let Some(behind) = &mut self.behind else { return true };
        let Some(flight) = &mut behind.flight else {
            tokio::time::sleep_until(behind.retry).await;
            let Ok(permit) = self.jobs.clone().reserve_owned().await else { return std::future::pending().await };
            let (act, flight, done) = self.next_flight(memory);
            permit.send(Job { volume: self.volume.clone(), act, done });
            if let Some(behind) = &mut self.behind {
                behind.flight = Some(flight);
            }
            return false;
        };
        let outcome = (&mut flight.done).await.unwrap_or_else(|_| Err(gone()));
        let landed = behind.flight.take();
        let Some(landed) = landed else { return false };
        self.land(landed, outcome, memory)
    }

    /// What to hand over next.
    fn next_flight(&mut self, memory: &impl Memory) -> (Act, Flight, oneshot::Sender<io::Result<()>>) {
        let (done, outcome) = oneshot::channel();
        let mut flight = Flight { done: outcome, to: None, whole: true, places: BTreeMap::new() };
        let numbering = self.behind.as_ref().and_then(|behind| behind.numbering.clone());
        if let Some(numbering) = numbering {
            return (self.roll(&numbering), flight, done);
        }
        let from = self.behind.as_ref().map_or(self.end, |behind| behind.handed);
        let (segments, numbering) = memory(from);
        let mut group = Group::new(from);
        let (mut size, mut end) = (0, from);
        let next = Next::of(&numbering, from);
        for segment in &segments {
            if size > CATCH_UP {
                break;
            }
            size += segment.cost();
            group.events(segment, numbering.misses_unknown(end, segment.seq()));
            end = segment.end();
        }
        flight.whole = segments.last().is_none_or(|last| last.end() == end);
        if !flight.whole {
            flight.to = Some(end);
            return (Act::Add(group.part()), flight, done);
        }
        flight.to = Some(numbering.next());
        flight.places = std::mem::take(&mut self.pending);
        let places = flight.places.iter().map(|(key, place)| (key, place.as_ref()));
        group.places(next, places);
        if group.is_empty() {
            // All of it was dropped from memory meanwhile; what was handed over before still needs its end.
            group.opened(next, &self.boot);
        }
        (Act::Add(group.whole()), flight, done)
    }

    /// Something that was handed over is done. True when nothing is left.
    fn land(&mut self, flight: Flight, outcome: io::Result<()>, memory: &impl Memory) -> bool {
        let Some(behind) = &mut self.behind else { return true };
        match (outcome, flight.to) {
            (Err(error), _) => {
                behind.reason = format!("the history cannot be written: {error}");
                behind.retry = Instant::now() + RETRY;
                // Nothing of what belongs together counts; it is all to be done again.
                behind.handed = self.end;
                let newer = std::mem::replace(&mut self.pending, flight.places);
                self.pending.extend(newer);
                return false;
            }
            (Ok(()), None) => {
                behind.numbering = None;
                (self.opened, self.began) = (true, None);
            }
            (Ok(()), Some(to)) => {
                behind.handed = to;
                if flight.whole {
                    self.end = to;
                    take_places(&mut self.places, flight.places);
                }
            }
        }
        let numbering = memory(u64::MAX).1;
        let done = behind.numbering.is_none() && self.end == numbering.next() && self.pending.is_empty();
        if done {
            info!(directory:% = self.volume.directory.display(); "the history is written again");
            self.behind = None;
        }
        done
    }
}
