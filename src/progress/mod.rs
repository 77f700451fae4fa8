//! From lines to [`Progress`]: a [`Tracker`] passes each line, finished or not, to the recognisers in the order of
//! [`recognisers`], and applies the report of the first match to one model.
//!
//! This layer knows nothing of files, pipes and clocks: the time is an argument. Ordinary text never counts as
//! progress; in case of doubt, nothing is reported.

mod report;
mod user_patterns;
mod osc;
mod ci;
mod percent;
mod count;
mod transfer;
mod media;
mod verdict;
mod group;

use std::fmt;
use std::time::Duration;

use regex::Regex;

use crate::event::{Progress, ProgressState, Time};

use estimator::EtaEstimator;
use group::GroupTracker;
use report::{ObservedLine, ProgressReport};

/// The longest line that is examined, in bytes: a bar is as wide as a terminal, with some colours.
pub(crate) const MAX_PROGRESS_LINE_SIZE: usize = 4 << 10;

/// The time without an update after which progress is stale: most programs report each second.
pub const STALE_AFTER: Duration = Duration::from_secs(15);

/// The minimum time between two updates: ten a second are as many as an eye can use.
const MIN_UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// A bar that falls by more than this percentage begins again; a smaller fall means that concurrent workers reported
/// out of order.
const MAX_PERCENT_FALL: f64 = 5.0;
const MAX_SHUFFLED_PERCENT_FALL: f64 = 50.0;

/// A recogniser of one kind of progress.
///
/// A recogniser sees every unfinished line, but only some of the finished ones: those with a percent sign or a control
/// sequence, and those that [`may_show_progress`] knows by their beginning. A recogniser of other finished lines needs
/// an entry in [`EXAMINED_LINE_PREFIXES`]. Lines longer than [`MAX_PROGRESS_LINE_SIZE`] are never examined, and with
/// patterns of the user every line is.
trait Recogniser: fmt::Debug + Send {
    /// The report of a line, if the line is of this kind. Called only if no recogniser before this one reported
    /// something.
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport>;
}

/// The confidence in a report: an explicit report outranks one guessed from text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Confidence {
    Guessed,
    Explicit,
    Configured,
}

/// All recognisers, in the order in which they are called.
fn recognisers(patterns: Vec<Regex>) -> Vec<(Confidence, Box<dyn Recogniser>)> {
    vec![
        (Confidence::Configured, Box::new(user_patterns::UserPatterns(patterns))),
        (Confidence::Explicit, Box::new(osc::OscRecogniser)),
        (Confidence::Explicit, Box::new(ci::CiRecogniser)),
        (Confidence::Guessed, Box::new(transfer::CurlRecogniser::default())),
        (Confidence::Guessed, Box::new(transfer::DockerLayersRecogniser::default())),
        (Confidence::Guessed, Box::new(transfer::DdRecogniser)),
        (Confidence::Guessed, Box::new(media::MediaRecogniser::default())),
        (Confidence::Guessed, Box::new(percent::PercentRecogniser)),
        (Confidence::Guessed, Box::new(count::CountRecogniser::default())),
        (Confidence::Guessed, Box::new(verdict::VerdictRecogniser)),
    ]
}

/// The prefixes (after blanks) of finished lines that are examined although they contain neither a percent sign nor
/// control sequences. Other finished lines reach no [`Recogniser`], so a recogniser that needs them adds its prefix.
const EXAMINED_LINE_PREFIXES: [&[u8]; 18] = [
    b"[",
    b"(",
    b"#",
    b"::",
    b"=",
    b"section_",
    b"size=",
    b"frame=",
    b"Duration: ",
    b"Input #0",
    b"ninja: ",
    b"npm error",
    b"make",
    b"error: could",
    b"Finished ",
    b"Step ",
    b"100 ",
    b"\xe2",
];

/// Returns whether a finished line may contain progress, and is passed to the recognisers. Most lines of most logs do
/// not, and the check is cheap for them.
fn may_show_progress(raw: &[u8]) -> bool {
    if memchr::memchr3(0x1b, 0x08, b'%', raw).is_some() {
        return true;
    }
    let text = raw.trim_ascii_start();
    let Some(first) = text.first() else { return false };
    let behind =
        |end: Option<usize>, words: &[u8]| end.and_then(|at| text.get(at..)).is_some_and(|t| t.starts_with(words));
    // The prefix of a table row, a byte count, an image layer, or the heading of the layers.
    (first.is_ascii_digit()
        && (text.len() < raw.len() || behind(text.iter().position(|byte| !byte.is_ascii_digit()), b" bytes")))
        || raw.get(12) == Some(&b':')
        || behind(memchr::memchr(b':', text), b": Pulling from ")
        || EXAMINED_LINE_PREFIXES.iter().any(|words| words[0] == *first && text.starts_with(words))
}

/// Tracks the progress of one source.
#[derive(Debug)]
pub struct Tracker {
    recognisers: Vec<(Confidence, Box<dyn Recogniser>)>,
    /// The user configured patterns, which may match any line.
    has_user_patterns: bool,
    /// A full bar means that all work is done; otherwise only the end of the source means that.
    full_is_done: bool,
    groups: GroupTracker,
    bar: Option<ProgressBar>,
    progress: Option<Progress>,
    /// The rows that a program could still change when it last wrote, and its origin.
    open_rows: Option<(usize, Vec<String>)>,
    /// An update is pending; the time of the last update, and whether the work was finished then.
    has_update: bool,
    last_update: Option<(Time, bool)>,
}

/// The bar that is being counted.
#[derive(Debug)]
struct ProgressBar {
    /// The index of the recogniser that reports it.
    recogniser: usize,
    confidence: Confidence,
    total: Option<u64>,
    /// The letters of its phase, since the numbers in it may change.
    phase: String,
    percent: f64,
    eta_estimator: EtaEstimator,
}

impl Tracker {
    /// Creates a tracker with the user's `patterns`, whose groups are named percent, current, total, phase and message.
    /// `full_is_done` is for sources that never end, such as files: for them a full bar means that all work is done.
    pub fn new(patterns: Vec<Regex>, full_is_done: bool) -> Self {
        Self {
            has_user_patterns: !patterns.is_empty(),
            recognisers: recognisers(patterns),
            full_is_done,
            groups: GroupTracker::default(),
            bar: None,
            progress: None,
            open_rows: None,
            has_update: false,
            last_update: None,
        }
    }

    /// Examines a finished line of one of the source's outputs. Costs some hundred nanoseconds for a line without
    /// progress, and for each pattern.
    pub fn line(&mut self, origin: usize, text: &[u8], now: Time) {
        if self.open_rows.as_ref().is_some_and(|(of, _)| *of == origin) {
            self.open_rows = None;
        }
        self.examine(text, false, false, now);
    }

    /// Examines the rows that a program can still change, from the top.
    pub fn open(&mut self, origin: usize, rows: &[Vec<u8>], now: Time) {
        if rows.is_empty() {
            return;
        }
        let before = self.open_rows.take().filter(|(of, _)| *of == origin).map(|(_, rows)| rows).unwrap_or_default();
        let mut seen = Vec::with_capacity(rows.len());
        for (at, row) in rows.iter().enumerate() {
            let size = row.len();
            let plain = if size > MAX_PROGRESS_LINE_SIZE { String::new() } else { report::plain(row).into_owned() };
            let before = before.get(at).map_or("", String::as_str);
            if plain != before && !plain.is_empty() {
                // A line that merely grows still begins with the earlier text; a redraw may begin alike, but changes the
                // text that was there.
                let redrawn = !before.is_empty() && !plain.starts_with(before);
                self.examine(row, true, redrawn, now);
            }
            seen.push(plain);
        }
        self.open_rows = Some((origin, seen));
    }

    /// Applies progress that a program reported to its terminal, as `9;4;STATE;PERCENT` (OSC 9;4).
    pub fn reported(&mut self, sequence: &[u8], now: Time) {
        let raw = [b"\x1b]", sequence, b"\x07"].concat();
        self.examine(&raw, true, false, now);
    }

    /// The progress as of the last line.
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref()
    }

    /// The update that is due now: the progress changed, and the last update was long enough ago or the work is
    /// finished.
    pub fn take_update(&mut self, now: Time) -> Option<Progress> {
        let late = now >= self.stale_at()?;
        if let Some(progress) = &mut self.progress
            && late
        {
            (progress.stale, progress.eta) = (true, None);
            self.has_update = true;
        }
        // A clock that was set back must not suppress updates.
        let last = self.last_update.filter(|(last, _)| (*last..last.plus(MIN_UPDATE_INTERVAL)).contains(&now));
        let over = self.progress.as_ref().is_some_and(|progress| progress.state.is_finished());
        if !self.has_update || last.is_some_and(|(_, was_over)| was_over || !over) {
            return None;
        }
        (self.has_update, self.last_update) = (false, Some((now, over)));
        self.progress.clone()
    }

    /// The time at which to call [`take_update`](Self::take_update) again if no line comes.
    pub fn due(&self) -> Option<Time> {
        match (self.has_update, self.last_update) {
            (true, Some((last, _))) => Some(last.plus(MIN_UPDATE_INTERVAL)),
            (true, None) => Some(Time::default()),
            (false, _) => self.stale_at().filter(|at| at.0 < i64::MAX),
        }
    }

    /// The time at which the progress becomes stale; `None` if it is finished or stale, or there is none.
    fn stale_at(&self) -> Option<Time> {
        let progress = self.progress.as_ref()?;
        let never = progress.stale || progress.state.is_finished() || progress.state == ProgressState::Paused;
        Some(if never { Time(i64::MAX) } else { progress.updated.plus(STALE_AFTER) })
    }

    fn examine(&mut self, raw: &[u8], open: bool, redrawn: bool, now: Time) {
        let any = open || self.has_user_patterns;
        if raw.is_empty() || raw.len() > MAX_PROGRESS_LINE_SIZE || !(any || may_show_progress(raw)) {
            return;
        }
        let text = report::plain(raw);
        // Colours alone are not progress.
        if !(any || may_show_progress(text.as_bytes()) || osc::is_in(raw)) {
            return;
        }
        let seen = ObservedLine { raw, text: &text, open, is_redrawn: redrawn, now };
        let mut found = self.recognisers.iter_mut().enumerate();
        let first = found.find_map(|(at, (rank, recogniser))| Some((at, *rank, recogniser.recognise(&seen)?)));
        if let Some((recogniser, rank, report)) = first {
            self.apply(recogniser, rank, report, now);
        }
    }

    /// Applies the report of a recogniser to the model.
    fn apply(&mut self, recogniser: usize, rank: Confidence, report: ProgressReport, now: Time) {
        let fresh = self.progress.as_ref().is_some_and(|progress| {
            !progress.state.is_finished() && now.seconds_since(progress.updated) < STALE_AFTER.as_secs_f64()
        });
        // A guess does not replace an explicit report, unless that is stale.
        let outranked = fresh && self.bar.as_ref().is_some_and(|bar| bar.confidence > rank);
        if outranked || (report.needs_prior_progress && self.progress.is_none()) {
            return;
        }
        let known = self.progress.take();
        let mut progress = match known.clone() {
            Some(last) if !last.state.is_finished() || report.percent.is_none() || report.needs_prior_progress => last,
            // Finished work stays finished, so this is new work. A process counts the time from its own start.
            Some(last) => {
                self.bar = None;
                let started = if self.full_is_done { now } else { last.started };
                Progress { groups: last.groups, ..Progress::begun(started) }
            }
            None => Progress::begun(now),
        };
        let before = progress.state;
        if let Some(edge) = report.group.clone() {
            self.groups.apply(edge);
        }
        let continues = self.apply_count(recogniser, rank, &report, &mut progress, now);
        progress.phase = match report.phase {
            Some(phase) => Some(phase),
            None if !self.groups.is_empty() => self.groups.phase(),
            // A different bar is a different part of the work; a user's pattern reports the end of a phase itself.
            None => progress.phase.filter(|_| continues || rank == Confidence::Configured),
        };
        progress.message = report.message.or(progress.message.filter(|_| report.percent.is_none()));
        progress.state = self.state(report.state, report.percent, before, progress.percent);
        if progress.state.is_finished() {
            progress.eta = None;
        }
        progress.groups = if self.groups.is_empty() { Vec::new() } else { self.groups.all() };
        (progress.updated, progress.stale) = (now, false);
        // The comparison is with the earlier progress, even where new work begins: a repeated report of the end is not
        // an update.
        let same = known.is_some_and(|known| Progress { eta: progress.eta, updated: now, ..known } == progress);
        self.has_update |= !same || self.last_update.is_none();
        self.progress = Some(progress);
    }

    /// The state that follows from the report, the state before, and the percentage.
    fn state(
        &self,
        reported: Option<ProgressState>,
        counted: Option<f64>,
        before: ProgressState,
        percent: Option<f64>,
    ) -> ProgressState {
        match reported {
            Some(state) => state,
            None if counted.is_some() && self.full_is_done && percent == Some(100.0) => ProgressState::Done,
            None if counted.is_some() => ProgressState::Running,
            None => before,
        }
    }

    /// Applies the numbers of a report to their bar or to a new one. Returns whether it is the same bar as before.
    fn apply_count(
        &mut self,
        recogniser: usize,
        rank: Confidence,
        report: &ProgressReport,
        progress: &mut Progress,
        now: Time,
    ) -> bool {
        let Some(percent) = report.percent else {
            if report.state == Some(ProgressState::Indeterminate) {
                (progress.percent, progress.total, progress.eta) = (None, None, None);
                progress.current = report.current;
                self.bar = None;
            }
            if report.state == Some(ProgressState::Done) && progress.percent.is_some() {
                progress.percent = Some(100.0);
                progress.current = progress.total.or(progress.current);
            }
            return true;
        };
        let fall = if report.out_of_order { MAX_SHUFFLED_PERCENT_FALL } else { MAX_PERCENT_FALL };
        let continues = self.bar.as_ref().is_some_and(|bar| {
            let one = bar.total == report.total && bar.phase == letters(report.phase.as_deref());
            let same = bar.recogniser == recogniser && (report.out_of_order || one);
            same && (percent >= bar.percent
                || (bar.percent - percent <= fall && (bar.percent < 100.0 || report.out_of_order)))
        });
        let held = match &mut self.bar {
            Some(bar) if continues => {
                let held = percent < bar.percent;
                bar.percent = bar.percent.max(percent);
                bar.total = report.total;
                held
            }
            _ => {
                let eta_estimator = EtaEstimator::new(now, percent);
                let phase = letters(report.phase.as_deref());
                self.bar = Some(ProgressBar {
                    recogniser,
                    confidence: rank,
                    total: report.total,
                    phase,
                    percent,
                    eta_estimator,
                });
                false
            }
        };
        let Some(bar) = &mut self.bar else { return false };
        progress.percent = Some((bar.percent * 10.0).round() / 10.0);
        if !held {
            (progress.current, progress.total) = (report.current, report.total);
        }
        progress.eta = bar.eta_estimator.eta(now, bar.percent);
        continues
    }
}

fn letters(text: Option<&str>) -> String {
    text.unwrap_or_default().chars().filter(|c| c.is_alphabetic()).collect()
}

#[cfg(test)]
mod tests;
mod estimator;
