//! What was measured, and how it is shown: a row for each run, then the ratio, then each target.

use std::fmt::Write as _;
use std::time::Duration;

/// Buckets in each power of two: a value is known to 3 %.
const FINE: u64 = 32;

/// Counts values in buckets that grow with the value.
#[derive(Default, Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, value: u64) {
        let shift = (u64::BITS - value.leading_zeros()).saturating_sub(FINE.ilog2() + 1);
        let index = u64::from(shift) * FINE + (value >> shift);
        let index = usize::try_from(index).expect("at most 64 powers of two");
        if index >= self.buckets.len() {
            self.buckets.resize(index + 1, 0);
        }
        self.buckets[index] += 1;
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    fn add(&mut self, other: &Self) {
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
    }

    /// The value below which this share of all values lies, in milliseconds if they are nanoseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut left = share * self.count as f64;
        for (index, count) in self.buckets.iter().enumerate() {
            left -= *count as f64;
            if left <= 0.0 && self.count > 0 {
                let index = index as u64;
                let shift = (index / FINE).saturating_sub(1);
                return ((index - shift * FINE) << shift) as f64 / 1e6;
            }
        }
        f64::NAN
    }
}

/// What one run of one server showed, or the sum of several.
#[derive(Default, Clone)]
pub(crate) struct Figures {
    pub(crate) lines: u64,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// Time without keep-alives, and CPU used in it.
    pub(crate) quiet: (Duration, Duration),
    pub(crate) latency: Histogram,
    pub(crate) peak: u64,
    /// How often a thread of the server was put to sleep or replaced by another one.
    pub(crate) switches: u64,
    /// The size of all bodies as they came, in bytes.
    pub(crate) body_bytes: u64,
    /// Memory of all readers, in bytes, and how many they were.
    pub(crate) seats: (u64, usize),
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) gaps: u64,
    pub(crate) strange: u64,
    pub(crate) unfinished: usize,
    pub(crate) note: String,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.quiet = (self.quiet.0 + other.quiet.0, self.quiet.1 + other.quiet.1);
        self.latency.add(&other.latency);
        self.peak = self.peak.max(other.peak);
        self.switches += other.switches;
        self.body_bytes += other.body_bytes;
        self.seats = (self.seats.0 + other.seats.0, self.seats.1 + other.seats.1);
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.gaps += other.gaps;
        self.strange += other.strange;
        self.unfinished += other.unfinished;
    }

    pub(crate) fn rate(&self) -> f64 {
        self.lines as f64 / self.wall.as_secs_f64()
    }

    /// CPU-seconds of the server per million lines delivered.
    pub(crate) fn cpu_per_million(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.lines as f64
    }

    /// Context switches of the server per line delivered.
    pub(crate) fn switches_per_line(&self) -> f64 {
        self.switches as f64 / self.lines as f64
    }

    pub(crate) fn peak_mb(&self) -> f64 {
        self.peak as f64 / 1e6
    }

    pub(crate) fn kib_per_reader(&self) -> f64 {
        self.seats.0 as f64 / 1024.0 / self.seats.1 as f64
    }

    /// CPU while nothing was sent, in percent of one core.
    pub(crate) fn quiet_percent(&self) -> f64 {
        self.quiet.1.as_secs_f64() * 100.0 / self.quiet.0.as_secs_f64()
    }

    /// Lines that did not come, came twice, or were no lines.
    pub(crate) fn wrong(&self) -> f64 {
        (self.lost + self.doubled + self.strange) as f64
    }
}

/// What is to be reached: a figure of rtlogd (first) that may be held against the floor's (second).
pub(crate) struct Target {
    pub(crate) what: &'static str,
    pub(crate) bound: Bound,
    pub(crate) figure: fn(&Figures, &Figures) -> f64,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

type Column = (&'static str, fn(&Figures) -> f64);

const COLUMNS: [Column; 8] = [
    ("lines/s", Figures::rate),
    ("CPU-s/M", Figures::cpu_per_million),
    ("switches/line", Figures::switches_per_line),
    ("p50 ms", |figures| figures.latency.quantile(0.50)),
    ("p99 ms", |figures| figures.latency.quantile(0.99)),
    ("peak MB", Figures::peak_mb),
    ("KiB/reader", Figures::kib_per_reader),
    ("quiet CPU %", Figures::quiet_percent),
];

pub(crate) fn heading() -> String {
    let mut text = format!("{:10}", "");
    for (name, _) in COLUMNS {
        write!(text, "{name:>14}").expect("a String takes all");
    }
    text + "  lost/doubled/gaps"
}

pub(crate) fn row(name: &str, figures: &Figures) -> String {
    let mut text = format!("{name:10}");
    for (_, figure) in COLUMNS {
        write!(text, "{:>14}", number(figure(figures))).expect("a String takes all");
    }
    let Figures { lost, doubled, gaps, strange, unfinished, note, .. } = figures;
    write!(text, "  {lost}/{doubled}/{gaps}").expect("a String takes all");
    if *strange > 0 {
        write!(text, "; {strange} messages are no lines").expect("a String takes all");
    }
    if *unfinished > 0 {
        write!(text, "; {unfinished} readers did not get the last line").expect("a String takes all");
    }
    if !note.is_empty() {
        write!(text, "; {note}").expect("a String takes all");
    }
    text
}

pub(crate) fn ratio(rtlogd: &Figures, floor: &Figures) -> String {
    let mut text = format!("{:10}", "ratio");
    for (_, figure) in COLUMNS {
        write!(text, "{:>14}", number(figure(rtlogd) / figure(floor))).expect("a String takes all");
    }
    text
}

impl Target {
    /// The target, the figure, and whether it is reached; a figure that could not be taken is not.
    pub(crate) fn judge(&self, rtlogd: &Figures, floor: &Figures) -> String {
        let figure = (self.figure)(rtlogd, floor);
        let (sign, bound, reached) = match self.bound {
            Bound::AtMost(bound) => ("<=", bound, figure <= bound),
            Bound::AtLeast(bound) => (">=", bound, figure >= bound),
        };
        let verdict = if reached { "reached" } else { "MISSED" };
        format!("{verdict:8} {} {sign} {}: {}", self.what, number(bound), number(figure))
    }
}

/// Three digits that matter; `-` for what was not measured.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".into(),
        0.0 => "0".into(),
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 1e4 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
