//! Records on their way to the disk that count together or not at all.

use crate::event::Time;
use crate::stream::numbering::Numbering;
use crate::stream::record::Writer;
use crate::stream::segment::Segment;

use super::volume::Mark;
use super::writer::Added;

/// Records in the making.
#[derive(Debug)]
pub(super) struct Group {
    writer: Writer,
    marks: Vec<Mark>,
    /// The place after the last event before them, then in them.
    end: u64,
    newest: Time,
}

impl Group {
    /// To follow the event before the place `end`.
    pub(super) fn new(end: u64) -> Self {
        Self { writer: Writer::default(), marks: Vec::new(), end, newest: Time::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writer.bytes.is_empty()
    }

    /// Adds that a daemon begins to write; `numbering` says which event is the next.
    pub(super) fn opened(&mut self, numbering: &Numbering, boot: &str) {
        let unknown = numbering.misses_unknown(self.end, numbering.next());
        self.writer.opened(numbering.next_id(), numbering.next(), unknown, boot);
    }

    /// Adds events.
    pub(super) fn events(&mut self, numbering: &Numbering, segment: &Segment) {
        let (seq, offset, time) = (segment.seq(), self.writer.bytes.len() as u64, segment.time(0));
        self.writer.events(segment, numbering.misses_unknown(self.end, seq));
        self.marks.push(Mark { seq, offset, time });
        self.end = segment.end();
        self.newest = self.newest.max(segment.time(segment.len() - 1));
    }

    /// Adds the source's places before the event at `seq`.
    pub(super) fn places<'a>(
        &mut self,
        numbering: &Numbering,
        seq: u64,
        places: impl IntoIterator<Item = (&'a String, Option<&'a String>)>,
    ) {
        self.writer.places(numbering.id(seq), seq, places);
    }

    /// Adds that the daemon ends in peace.
    pub(super) fn closed(&mut self, numbering: &Numbering) {
        self.writer.closed(numbering.next_id(), numbering.next());
    }

    /// All of it; what belongs together ends here.
    pub(super) fn whole(mut self) -> Added {
        self.writer.end();
        Added { whole: true, ..self.part() }
    }

    /// All of it; more is to come that belongs to it.
    pub(super) fn part(self) -> Added {
        let Self { writer, marks, end, newest } = self;
        Added { bytes: writer.bytes, marks, whole: false, end, newest, sync: false }
    }
}
