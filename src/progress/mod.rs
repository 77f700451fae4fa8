//! From lines to [`Progress`]: a [`Tracker`] passes each line, finished or not, to the recognisers in the order of
//! [`recognisers`], and applies the report of the first match to one model.
//!
//! This layer knows nothing of files, pipes and clocks: the time is an argument. Ordinary text never counts as
//! progress; in case of doubt, nothing is reported.
//!
//! **To add a recogniser**, see the head of `report.rs`. The modules are listed in reading order.
//!
//! - Most lines are passed over by [`may_show_progress`].
//! - A recogniser turns a line into a [`ProgressReport`]. Most of them are rows of the table in `shapes`; those that
//!   remember earlier lines are in `transfer`, `steps`, `media` and `ci`. `verdict` finds the result of a program, and
//!   `osc` what it tells the terminal. All numbers are parsed in `number`.
//! - A report whose line many programs may write needs a second one with a greater number (`growth`).
//! - Of the rows that a program can still change, `rows` selects the one that counts the whole.

mod report;
mod user_patterns;
mod osc;
mod ci;
mod number;
mod shapes;
mod shape_recogniser;
mod transfer;
mod steps;
mod media;
mod verdict;
mod group;
mod growth;
mod rows;
mod estimator;
mod known_programs;

use std::fmt;
use std::time::Duration;

use regex::Regex;

use crate::event::{Progress, ProgressState, Time};

pub use known_programs::KNOWN_PROGRAMS;

use estimator::EtaEstimator;
use group::GroupTracker;
use growth::GrowthTracker;
use report::{Evidence, GroupBoundary, ObservedLine, ProgressReport, Scope, letters};
use rows::{LiveRow, LiveRows};

/// The longest line that is examined, in bytes: a bar is as wide as a terminal, with some colours.
pub(crate) const MAX_PROGRESS_LINE_SIZE: usize = 4 << 10;

/// The time without an update after which progress is stale: most programs report each second.
pub const STALE_AFTER: Duration = Duration::from_secs(15);

/// The minimum time between two updates: ten a second are as many as an eye can use.
const MIN_UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// The time after which a bar that counts the whole, and does not advance, is replaced by those of its items: the longest
/// step of most builds.
const WHOLE_STALE_AFTER: Duration = Duration::from_mins(10);

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

    /// Returns whether every finished line is to be examined now, since a line announced others without a prefix.
    fn wants_all(&self) -> bool {
        false
    }
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
        (Confidence::Explicit, Box::new(ci::CiRecogniser::default())),
        (Confidence::Guessed, Box::new(transfer::CurlRecogniser::default())),
        (Confidence::Guessed, Box::new(transfer::DockerLayersRecogniser::default())),
        (Confidence::Guessed, Box::new(transfer::DdRecogniser)),
        (Confidence::Guessed, Box::new(media::MediaRecogniser::default())),
        (Confidence::Guessed, Box::new(transfer::RsyncRecogniser::default())),
        (Confidence::Guessed, Box::new(steps::StepsRecogniser::default())),
        (Confidence::Guessed, Box::new(shape_recogniser::ShapeRecogniser::default())),
        (Confidence::Guessed, Box::new(verdict::VerdictRecogniser)),
    ]
}

/// A report, with its confidence and the index of its recogniser.
type Found = (usize, Confidence, ProgressReport);

/// The prefixes (after blanks) of finished lines that are examined although they contain neither a percent sign nor
/// control sequences. Other finished lines reach no [`Recogniser`], so a recogniser that needs them adds its prefix.
const EXAMINED_LINE_PREFIXES: &[&[u8]] = &[
    b"[",
    b"(",
    b"#",
    b"::",
    b"=",
    b"section_",
    b"travis_",
    b"--- ",
    b"+++ ",
    b"~~~ ",
    b"^^^ ",
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
    b"STEP ",
    b"Epoch ",
    b"100 ",
    b"\xe2",
    b"Waiting for ",
    b"PASS ",
    b"FAIL ",
    b"Test Suites: ",
    b"tar: ",
    b"TASK [",
    b"PLAY ",
    b"Plan: ",
    b"Apply complete!",
    b"Package operations: ",
    b"Progress: ",
    b"Installing",
    b"Upgrading",
    b"Reinstalling",
    b"Removing",
    b"Erasing",
    b"Cleanup",
    b"Verifying",
    b"Preparing",
    b"Running scriptlet",
    b"Transferred: ",
    b"Building ",
    b"Everything is Ok",
    b"ERROR: Build did",
    b"INFO: Build comp",
    b"BUILD ",
    b"deployment \"",
    b"daemon set \"",
    b"statefulset ",
];

/// `true` for each byte with which one of the [`EXAMINED_LINE_PREFIXES`] begins: this alone passes over most lines.
static IS_EXAMINED_FIRST_BYTE: [bool; 256] = {
    let mut is_first = [false; 256];
    let mut at = 0;
    while at < EXAMINED_LINE_PREFIXES.len() {
        is_first[EXAMINED_LINE_PREFIXES[at][0] as usize] = true;
        at += 1;
    }
    is_first
};

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
    // The prefix of a table row, a byte count, a test of CTest, an image layer, or the heading of the layers.
    let is_numbered = || {
        let end = text.iter().position(|byte| !byte.is_ascii_digit());
        text.len() < raw.len() || behind(end, b" bytes") || behind(end, b"/")
    };
    (first.is_ascii_digit() && is_numbered())
        || (raw.get(12) == Some(&b':') && raw[..12].iter().all(u8::is_ascii_hexdigit))
        || ci::is_stamped_marker(raw)
        || behind(memchr::memchr(b':', text), b": Pulling from ")
        || (IS_EXAMINED_FIRST_BYTE[usize::from(*first)]
            && EXAMINED_LINE_PREFIXES.iter().any(|words| words[0] == *first && text.starts_with(words)))
}

/// Tracks the progress of one source.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "two are settings, and two are facts that do not exclude each other")]
pub struct Tracker {
    recognisers: Vec<(Confidence, Box<dyn Recogniser>)>,
    /// The user configured patterns, which may match any line.
    has_user_patterns: bool,
    /// A full bar means that all work is done; otherwise only the end of the source means that.
    full_is_done: bool,
    groups: GroupTracker,
    bar: Option<ProgressBar>,
    progress: Option<Progress>,
    /// The rows that a program could still change when it last wrote.
    live_rows: LiveRows,
    growth: GrowthTracker,
    /// The last time at which a program changed one of them: a sign of life, even if its bar does not advance.
    drawn: Time,
    /// A recogniser wants every finished line now.
    wants_all: bool,
    /// The number of examinations of rows.
    examined: u64,
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
    tool: &'static str,
    scope: Scope,
    updated: Time,
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
            live_rows: LiveRows::default(),
            drawn: Time::default(),
            growth: GrowthTracker::default(),
            wants_all: false,
            examined: 0,
            has_update: false,
            last_update: None,
        }
    }

    /// Examines a finished line of one of the source's outputs. Costs some hundred nanoseconds for a line without
    /// progress, and for each pattern.
    pub fn line(&mut self, origin: usize, text: &[u8], now: Time) {
        if !self.live_rows.have_text() {
            self.live_rows.take(origin);
            if let Some(found) = self.recognise(text, false, false, now) {
                self.apply(found, now);
            }
            return;
        }
        let mut rows = self.live_rows.take(origin);
        let mut ended = None;
        let mut redrawn = false;
        if !rows.is_empty() && text.len() <= MAX_PROGRESS_LINE_SIZE {
            let line = LiveRow::new(report::plain(text).into_owned());
            if let Some(at) = rows::find_ended(&rows, &line) {
                redrawn = rows[at].is_redrawn || line.replaces(&rows[at]);
                // The rows above have become lines, too.
                ended = rows.drain(..=at).next_back();
            }
        }
        // A line above a bar is not the bar, and neither is the end of an item.
        let is_other = match &ended {
            Some(row) => row.is_item,
            None => rows.iter().any(|row| row.is_redrawn && rows::has_guessed_percentage(row.found.as_ref())),
        };
        if ended.as_ref().is_some_and(|row| row.is_finished && row.text.trim_end() == report::plain(text).trim_end()) {
            return self.live_rows.set(origin, rows);
        }
        let found = self.recognise(text, false, redrawn, now).or_else(|| verdict::of_ended_row(text, &ended?));
        if let Some(found) = found
            && !(is_other && rows::has_guessed_percentage(Some(&found)))
        {
            self.apply(found, now);
        }
        self.live_rows.set(origin, rows);
    }

    /// Examines the rows that a program can still change, from the top. The outermost bar of several is the progress.
    pub fn open(&mut self, origin: usize, rows: &[Vec<u8>], now: Time) {
        if rows.is_empty() && self.live_rows.is_empty() {
            return;
        }
        let before = self.live_rows.take(origin);
        let mut live = rows::erased(rows, &before);
        let mut last_changed = None;
        for (at, raw) in rows.iter().enumerate() {
            let plain =
                if raw.len() > MAX_PROGRESS_LINE_SIZE { String::new() } else { report::plain(raw).into_owned() };
            let same = before.get(at).filter(|earlier| earlier.text == plain);
            let mut row = same.cloned().unwrap_or_else(|| LiveRow::new(plain));
            match rows::find_earlier(&before, &row, at) {
                Some(earlier) if earlier.text == row.text => row = earlier.clone(),
                earlier => {
                    row.is_redrawn = earlier.is_some_and(|earlier| row.replaces(earlier));
                    if !row.text.is_empty() {
                        last_changed = Some(at);
                        self.examined += 1;
                        row.examined = self.examined;
                        row.found = self.recognise(raw, true, row.is_redrawn, now).or_else(|| match earlier? {
                            earlier if row.erases(earlier) => earlier.found.clone(),
                            earlier if row.ends(earlier) => verdict::of_ended_row(raw, earlier),
                            _ => None,
                        });
                    }
                }
            }
            // A row above others is usually a finished line of which the end is not known yet.
            if row.found.is_none() && !row.is_finished && !row.text.is_empty() && at + 1 < rows.len() {
                row.is_finished = true;
                if let Some(found) = self.recognise(raw, false, false, now) {
                    self.apply(found, now);
                }
            }
            live.push(row);
        }
        let outermost = rows::outermost(&live);
        let counted = outermost.and_then(|at| live[at].found.as_ref()).map(|(_, _, report)| report.tool);
        for (at, row) in live.iter_mut().enumerate() {
            // Rows that continue one count are no items of each other.
            let continues =
                row.found.as_ref().is_some_and(|(_, _, report)| report.out_of_order && Some(report.tool) == counted);
            row.is_item = outermost.is_some_and(|outermost| outermost != at) && !continues;
        }
        if let (Some(changed), Some(at)) = (last_changed, outermost)
            && let Some((recogniser, confidence, mut report)) = live[at].found.clone()
        {
            if report.percent.is_some()
                && confidence == Confidence::Guessed
                && !report.is_summary
                && (changed != at || report.message.is_none())
            {
                report.message = rows::item_message(&live, at).or(report.message);
            }
            self.apply((recogniser, confidence, report), now);
        }
        if last_changed.is_some() {
            self.drawn = now;
            self.has_update |= self.progress.as_mut().is_some_and(|progress| std::mem::take(&mut progress.stale));
        }
        self.live_rows.set(origin, live);
    }

    /// Applies progress that a program reported to its terminal, as `9;4;STATE;PERCENT` (OSC 9;4).
    pub fn reported(&mut self, sequence: &[u8], now: Time) {
        let raw = [b"\x1b]", sequence, b"\x07"].concat();
        if let Some(found) = self.recognise(&raw, true, false, now) {
            self.apply(found, now);
        }
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
        Some(if never { Time(i64::MAX) } else { progress.updated.max(self.drawn).plus(STALE_AFTER) })
    }

    /// The report of a line, and its recogniser.
    fn recognise(&mut self, raw: &[u8], open: bool, redrawn: bool, now: Time) -> Option<Found> {
        let any = open || redrawn || self.has_user_patterns || self.wants_all;
        if raw.is_empty() || raw.len() > MAX_PROGRESS_LINE_SIZE || !(any || may_show_progress(raw)) {
            return None;
        }
        let text = report::plain(raw);
        // Colours alone are not progress.
        if !(any || may_show_progress(text.as_bytes()) || osc::is_in(raw)) {
            return None;
        }
        let seen = ObservedLine { raw, text: &text, open, is_redrawn: redrawn, now };
        let mut all = self.recognisers.iter_mut().enumerate();
        let found = all.find_map(|(at, (rank, recogniser))| Some((at, *rank, recogniser.recognise(&seen)?)));
        self.wants_all = self.recognisers.iter().any(|(_, recogniser)| recogniser.wants_all());
        let (recogniser, rank, report) = found?;
        let certain = match report.evidence {
            Evidence::Certain => true,
            Evidence::Single => self.growth.has_grown(&report),
            Evidence::Redrawn => self.growth.has_grown(&report) && redrawn,
        };
        certain.then_some((recogniser, rank, report))
    }

    /// Applies the report of a recogniser to the model.
    fn apply(&mut self, found: Found, now: Time) {
        let (recogniser, rank, mut report) = found;
        let fresh = self.progress.as_ref().is_some_and(|progress| {
            !progress.state.is_finished() && now.seconds_since(progress.updated) < STALE_AFTER.as_secs_f64()
        });
        // A guess does not replace an explicit report, unless that is stale.
        let outranked = fresh && self.bar.as_ref().is_some_and(|bar| bar.confidence > rank);
        if outranked || (report.needs_prior_progress && self.progress.is_none()) {
            return;
        }
        if self.is_item(rank, &report, now) {
            report = report.into_item_of_whole();
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
        let group_state = report.group.take().and_then(|edge| self.apply_group(edge, before));
        let continues = self.apply_count(recogniser, rank, &report, &mut progress, now);
        progress.phase = match report.phase {
            Some(phase) => Some(phase),
            None if !self.groups.is_empty() => self.groups.phase(),
            // A different bar is a different part of the work; a user's pattern reports the end of a phase itself.
            None => progress.phase.filter(|_| continues || rank == Confidence::Configured),
        };
        progress.message = report.message.or(progress.message.filter(|_| report.percent.is_none()));
        progress.state = self.state(report.state.or(group_state), report.percent, before, progress.percent);
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

    /// Applies the start or end of a group. Returns the state that follows from it.
    fn apply_group(&mut self, edge: GroupBoundary, before: ProgressState) -> Option<ProgressState> {
        let begins = matches!(edge, GroupBoundary::Begin { .. } | GroupBoundary::Next { .. });
        self.groups.apply(edge);
        if begins {
            return before.is_finished().then_some(ProgressState::Indeterminate);
        }
        // A process ends; of a file, the end of its groups is all that tells.
        let all_closed = self.groups.phase().is_none();
        (all_closed && self.full_is_done && self.bar.is_none()).then_some(ProgressState::Done)
    }

    /// Returns whether a report is that of an item of the work that the current bar counts.
    fn is_item(&self, rank: Confidence, report: &ProgressReport, now: Time) -> bool {
        let Some(progress) = self.progress.as_ref().filter(|progress| !progress.state.is_finished()) else {
            return false;
        };
        let is_full = progress.percent.is_none_or(|percent| percent >= 100.0);
        let counts = report.percent.is_some() || report.state == Some(ProgressState::Indeterminate);
        self.bar.as_ref().is_some_and(|bar| {
            let fresh = now.seconds_since(bar.updated) < WHOLE_STALE_AFTER.as_secs_f64();
            counts
                && rank == Confidence::Guessed
                && fresh
                && !is_full
                && report.scope < bar.scope
                && bar.scope == Scope::Whole
        })
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
            let same = (bar.recogniser, bar.tool) == (recogniser, report.tool) && (report.out_of_order || one);
            same && (percent >= bar.percent
                || (report.is_repeated && bar.total == report.total)
                || (bar.percent - percent <= fall && (bar.percent < 100.0 || report.out_of_order)))
        });
        let held = match &mut self.bar {
            Some(bar) if continues => {
                let held = percent < bar.percent;
                bar.percent = bar.percent.max(percent);
                (bar.total, bar.scope, bar.updated) = (report.total, report.scope, now);
                held
            }
            _ => {
                let eta_estimator = EtaEstimator::new(now, percent);
                let phase = letters(report.phase.as_deref());
                self.bar = Some(ProgressBar {
                    recogniser,
                    confidence: rank,
                    tool: report.tool,
                    scope: report.scope,
                    updated: now,
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

#[cfg(test)]
mod tests;
