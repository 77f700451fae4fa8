//! The lines by which known programs show a percentage or a count, and the shapes that many programs share.
//!
//! A number with a percent sign or a slash is not enough: each shape describes all of a line, or the bar in it, and
//! says when a line of this shape is progress.

use super::report::Scope;
use Kind::{Agreeing, Plain, Repeated, Shuffled};
use Scope::{Bar, Item, Whole};
use ShapeCondition::{Always, Drawn, Growing, Open, Redrawn};

/// The condition under which a line is progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShapeCondition {
    /// The line is specific to one program.
    Always,
    /// The line is unfinished or a redraw, or continues an earlier one with a greater number.
    Drawn,
    /// The line is a redraw, or continues an earlier one with a greater number.
    Growing,
    /// The line is unfinished.
    Open,
    /// The line is a redraw, and continues an earlier one with a greater number.
    Redrawn,
}

/// A condition on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// The numbers may be out of order, since workers run concurrently.
    Shuffled,
    /// The numbers may be out of order, and some lines are repeated at the end.
    Repeated,
    /// The percentage and the count must agree.
    Agreeing,
}

/// A shape of one program: the program, the condition, the part of the work that is counted, the kind of numbers, and
/// an expression. In expressions, `P%` stands for a percentage, `CUR` and `TOT` for numbers with units, `AMT` for such
/// a number that is not reported, `BAR` for a character of a bar. `\d` and `\s` are ASCII, which keeps them small.
pub(super) type Shape = (&'static str, ShapeCondition, Scope, Kind, &'static str);

/// The shapes, the most specific first.
pub(super) const SHAPES: &[Shape] = &[
    // "[ 45%] Building C object x.o", always three columns wide.
    ("cmake", Always, Bar, Shuffled, r"^\[(?P<percent> \d\d|  \d|100)%\] (?P<message>.+)"),
    ("pytest", Always, Bar, Shuffled, r"^\[gw\d+\] \[(?P<percent> \d\d|  \d|100)%\] (?P<message>.+)"),
    (
        "pytest",
        Always,
        Bar,
        Shuffled,
        r"^(?:.*\.py\b.*|[.FEsxXpPR,]*|.* (?:PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b.*) +\[(?P<percent> \d\d|  \d|100)%\]$",
    ),
    // pytest-sugar.
    ("pytest", Always, Bar, Shuffled, r"^ \S+\.py\S* .* P% ?BAR*$"),
    ("apt", Open, Whole, Plain, r"^Progress: \[ *P%\]"),
    // "(Reading database ... 45%".
    ("apt", Always, Bar, Plain, r"^\((?P<phase>Reading database) \.\.\. P%$"),
    ("apt", Open, Bar, Plain, r"^(?P<phase>[A-Za-z][^%.]*)\.\.\. ?P%$"),
    ("apt", Open, Bar, Plain, r"^ *P% \["),
    // "Training:  45%|████▌     | 18/40 [00:00<00:01, 19.9it/s]", also that of enlighten.
    (
        "tqdm",
        Always,
        Bar,
        Plain,
        r"^(?:(?P<phase>[^|%]*?): *|\s*)P%\|[^|]*\| *CUR/TOT ?(?:[A-Za-z]*) \[(?P<message>[^\]]*)",
    ),
    (
        "tqdm",
        Always,
        Bar,
        Plain,
        r"^(?:(?P<phase>[^|%\[]*?): +|\s*)CUR ?[A-Za-z]+ \[\d+:\d\d(?::\d\d)?, (?P<message>[^\]]*/s|[^\]]*s/[a-z]+)\]",
    ),
    (
        "enlighten",
        Always,
        Bar,
        Plain,
        r"^(?:(?P<phase>[^|%\[]*?):? +)CUR [A-Za-z]+ \[\d+:\d\d(?::\d\d)?, (?P<message>[^\]]*/s)\]",
    ),
    // "Loading |████████▌   | ▃▅▇ 12/40 [30%] in 1s (~2s, 12/s)".
    ("alive-progress", Always, Bar, Plain, r"^(?:(?P<phase>[^|%]*?) )?\|[^|]*\| .*?CUR/TOT \[P%\] (?P<message>.*)"),
    // "1.00MiB 0:00:02 [ 512KiB/s] [==>    ] 25% ETA 0:00:04".
    (
        "pv",
        Always,
        Bar,
        Plain,
        r"^(?:(?P<phase>[^\[]*?): +)? *CUR +\d+:\d\d:\d\d \[ *(?P<message>[^\]]*/s)\] \[[^\]]*\] *P%",
    ),
    (
        "pv",
        Always,
        Bar,
        Plain,
        r"^(?:(?P<phase>[^\[]*?): +)? *CUR +\d+:\d\d:\d\d \[ *(?P<message>[^\]]*/s)\] \[ *<=> *\]",
    ),
    // "[#2089b0 400KiB/33MiB(1%) CN:1 DL:115KiB ETA:4m51s]".
    ("aria2", Always, Bar, Plain, r"^\[#[0-9a-f]{6} (?:SIZE:)?CUR/TOT\(P%\) ?(?P<message>[^\]]*)"),
    ("aria2", Always, Bar, Plain, r"^\[DL:(?P<message>[^\]]*)\]\[#[0-9a-f]{6} CUR/TOT\(P%\)"),
    // "  5% (1 of 20) |#    | Elapsed Time: 0:00:00".
    ("progressbar2", Always, Bar, Plain, r"^(?P<phase>[^%|]*?) *P% \(CUR of TOT\) \|.*\| *(?P<message>.*)"),
    ("gradle", Always, Whole, Plain, r"^<BAR+> P% (?P<phase>[A-Z]+)"),
    // "...............  63 / 340 ( 18%)".
    ("phpunit", Always, Bar, Plain, r"^[.FEWISRDN]+ +CUR / TOT \( *P%\)$"),
    ("qemu-img", Always, Bar, Plain, r"^ *\((?P<percent>\d{1,3}[.,]\d\d)/100%\)"),
    ("pgbadger", Always, Bar, Plain, r"^\[[=> ]+\] (?P<phase>Parsed) CUR bytes of TOT \(P%\),? ?(?P<message>.*)"),
    // "      1,234,567  45%    1.18MB/s    0:00:01"; "file.bin   45% 1350KB 1.3MB/s 00:01 ETA".
    ("scp", Always, Bar, Plain, r"^(?P<phase>\S.*?) +P% +CUR +(?P<message>AMT/s) +(?:[\d:]+|--:--)(?: ETA)?\s*$"),
    ("rclone", Always, Whole, Plain, r"Transferred:\s+CUR / TOT, P%, (?P<message>AMT/s.*)"),
    ("rclone", Always, Item, Plain, r"^Transferred:\s+CUR / TOT, P%$"),
    ("rclone", Always, Item, Plain, r"^ *\* +(?P<phase>\S.*?): *P% /"),
    ("restic", Always, Bar, Plain, r"^\[\d+:\d\d(?::\d\d)?\] +P% +(?P<message>\d.*)"),
    // "[0:02] 37 files 36.240 MiB, total 60 files 57.220 MiB, 0 errors", into a pipe.
    ("restic", Always, Bar, Plain, r"^\[\d+:\d\d(?::\d\d)?\] (?P<message>\d+ files? CUR, total \d+ files? TOT\b.*)"),
    ("restic", Always, Bar, Plain, r"^\[\d+:\d\d(?::\d\d)?\] CUR files? (?P<message>.*)"),
    ("borg", Open, Bar, Plain, r"^ *CUR O AMT C AMT D \d+ N (?P<message>.*)"),
    ("badblocks", Always, Bar, Plain, r"P% done, (?P<message>\d+:\d\d(?::\d\d)? elapsed)"),
    ("mkfs", Drawn, Bar, Plain, r"^(?P<phase>(?:Writing|Allocating|Creating|Discarding) [^:]*): +CUR/TOT *$"),
    ("pgbench", Always, Bar, Plain, r"^CUR of TOT tuples \(P%\) (?:of \S+ )?done (?P<message>\(elapsed .*)"),
    ("conda", Always, Item, Plain, r"^(?P<phase>\S+) +\| AMT +\| [#\d ]* \| +P%"),
    ("dnf", Always, Whole, Shuffled, r"^\( *CUR/TOT\): (?P<message>\S+) +\d+% \["),
    ("dnf", Always, Whole, Shuffled, r"^\[ *CUR/TOT\] (?P<message>\S.*?) +\d+% \| "),
    (
        "dnf",
        Growing,
        Whole,
        Shuffled,
        r"^ +(?P<phase>Preparing|Installing|Upgrading|Reinstalling|Running scriptlet|Cleanup|Erasing|Verifying) +: +(?P<message>\S*).* CUR/TOT *$",
    ),
    ("pacman", Always, Whole, Shuffled, r"^\( *CUR/TOT\) (?P<message>[a-z][^\[]*?) +\[[-#cCoO ]*\] +\d+%"),
    (
        "pacman",
        Growing,
        Whole,
        Shuffled,
        r"^\( *CUR/TOT\) (?P<message>(?:installing|upgrading|reinstalling|removing|downgrading|checking|loading|downloading)\b.*)",
    ),
    // curl -# and brew, as wide as the terminal.
    ("curl", Always, Bar, Plain, r"^#{2,} +(?P<percent>\d{1,3}[.,]\d)%$"),
    // wget into a file: "   450K .......... .......... 17%  228M 2s".
    ("wget", Always, Bar, Plain, r"^\s*\d+[KM][ .,]+ P% +(?P<message>[\d.]+[KMG]?)(?:[ =]|$)"),
    // "Downloading LFS objects:  45% (450/1000), 12 MB | 3 MB/s": the percentage is that of bytes.
    ("git", Always, Bar, Plain, r"^(?P<phase>[A-Z][a-z]+ LFS objects): +P% \(CUR/TOT\),? ?(?P<message>.*)"),
    // "Receiving objects:  45% (450/1000)".
    ("git", Drawn, Bar, Agreeing, r"^(?:(?P<phase>[^%]*?)[:\s]+)?P% \(CUR/TOT\)"),
    // "        PASS [   0.005s] ( 1/40) demo::tests::a".
    (
        "cargo-nextest",
        Always,
        Bar,
        Repeated,
        r"^ *(?:[A-Z]{4,}(?: [A-Z0-9]+)*) \[[> ]*\d+\.\d+s\] \( *CUR/TOT\) +(?P<message>\S.*)",
    ),
    // nextest pads rows to the width of the terminal, so that several of them are one long row.
    (
        "cargo-nextest",
        Always,
        Whole,
        Repeated,
        r"(?:^|  ) *(?P<phase>Running|Cancelling) \[ *[\d:]+\] BAR*[\[\] ]*CUR/TOT:(?: (?P<message>\S+(?: \S+)*))?",
    ),
    // "    Building [=====>      ] 12/340: serde, syn".
    (
        "cargo",
        Always,
        Bar,
        Shuffled,
        r"^\s*(?P<phase>[A-Z][a-z]+)?\s*\[[=#>\-. ]{5,}\] CUR/TOT(?:: *(?P<message>.*))?$",
    ),
    // "     ━━━━━━━━━━━━━━━━ 1.2/3.4 MB 5.6 MB/s eta 0:00:01".
    ("pip", Always, Bar, Shuffled, r"^\s*(?:(?P<phase>[^━╸╺]*?)\s+)?[━╸╺]{5,} CUR/TOT\b *(?P<message>.*)$"),
    // "Step 3/10 : RUN make".
    ("docker build", Always, Whole, Shuffled, r"^Step CUR/TOT ?: (?P<message>.+)"),
    ("docker build", Always, Whole, Shuffled, r"^\[\+\] Building .*\(CUR/TOT\)"),
    ("docker build", Always, Bar, Shuffled, r"^#\d+ \[(?:(?P<phase>[A-Za-z0-9_.-]+) +)?CUR/TOT\] (?P<message>.+)"),
    ("podman build", Always, Whole, Shuffled, r"^(?:\[\d+/\d+\] )?STEP CUR/TOT: (?P<message>.+)"),
    ("docker compose", Always, Whole, Shuffled, r"^\[\+\] (?P<phase>[A-Za-z]+) CUR/TOT"),
    // " 12/340 Test  #12: name ......   Passed    0.01 sec".
    ("ctest", Always, Bar, Shuffled, r"^ *CUR/TOT Test +#\d+: (?P<message>[^ ]+)"),
    (
        "meson test",
        Always,
        Bar,
        Shuffled,
        r"^ *CUR/TOT (?P<message>\S.*?) +(?:OK|FAIL|SKIP|TIMEOUT|ERROR|INTERRUPT|EXPECTEDFAIL|UNEXPECTEDPASS) +[\d.]+ ?s",
    ),
    ("meson test", Open, Bar, Shuffled, r"^\[CUR(?:-\d+)?/TOT\] \S+ +(?P<message>\S.*?) +[\d./]+ ?s$"),
    // "[INFO] Building demo-core 1.0      [2/3]".
    ("maven", Always, Whole, Plain, r"^(?:\[INFO\] )?Building (?P<message>\S.*?) +\[CUR/TOT\]$"),
    ("bazel", Drawn, Bar, Shuffled, r"^(?:\([\d:]+\) )?\[ *CUR / TOT\] (?P<message>\S.*)"),
    (
        "kubectl",
        Always,
        Bar,
        Plain,
        r"^Waiting for (?P<phase>.*?) (?:rollout )?to finish: CUR (?:out )?of TOT (?P<message>.*)",
    ),
    ("ghc", Drawn, Bar, Shuffled, r"^\[ *CUR of TOT\] (?P<message>Compiling .*|Linking .*)"),
    ("uv", Always, Whole, Shuffled, r"^\S* ?(?P<phase>[A-Z][a-z]+ing [a-z ]+)\.\.\. \(CUR/TOT\)"),
    ("uv", Always, Whole, Shuffled, r"^[█░]+ \[CUR/TOT\] ?(?P<message>.*)"),
    ("jest", Always, Whole, Shuffled, r"^(?P<phase>Test Suites): .*?CUR of TOT total"),
    (
        "yarn",
        Always,
        Whole,
        Shuffled,
        r"^\[CUR/TOT\] (?P<message>(?:Validating|Resolving|Fetching|Linking|Building)\b.*)",
    ),
    ("yarn", Open, Item, Plain, r"^\[[#-]{5,}\] CUR/TOT$"),
    ("vite", Open, Bar, Plain, r"^(?P<phase>transforming|rendering chunks) \(CUR\) *(?P<message>.*)"),
    ("webpack", Always, Bar, Shuffled, r"^(?:<s> )?\[webpack\.Progress\] P% (?P<phase>[a-z]+)"),
    ("webpack", Redrawn, Bar, Shuffled, r"^P% (?:\[\d+\] )?(?P<phase>[a-z]+) ?(?P<message>.*)"),
    ("rustup", Always, Bar, Plain, r"^ *CUR / +TOT \( *P%\) (?P<message>.*)"),
    ("7z", Drawn, Bar, Plain, r"^ *P%(?: \d+)? [-+=UTR] (?P<message>\S.*)"),
    // The percentage is the ratio of the compression.
    ("zstd", Always, Bar, Plain, r"(?:^|: )Read: +CUR / +TOT +==> +\d+%$"),
    // The shapes of no program in particular. A bar in brackets in front of the percentage, or behind it, as in wget.
    (
        "a percentage",
        Growing,
        Bar,
        Plain,
        r"(?i)^(?:progress|total|overall)\s*[:=]?\s*\[? *P%\]?(?:\s*$|\s*[|(,;:\[-])",
    ),
    ("a bar", Drawn, Bar, Plain, r"^(?P<phase>[^\[\]%|]*?)[:\s]*P% ?[\[|(]BAR{5,}[\]|)]"),
    ("a bar", Drawn, Bar, Plain, r"^(?P<phase>[^\[\]%|]*?)[:\s]*[\[(]BAR{5,}[\])]:? *P%"),
    ("a bar", Drawn, Bar, Plain, r"^(?P<phase>[^|%]*?)[:\s]*\|[█▏▎▍▌▋▊▉░▒▓#=> ]{5,}\| *P%"),
    ("a bar", Drawn, Bar, Plain, r"(?:^|\|)(?P<phase>[^|%█▉▊▋▌▍▎▏░▒▓━╸╺]*?)[:\s]*[█▉▊▋▌▍▎▏░▒▓━╸╺]{3,} +P%"),
    (
        "a bar",
        Drawn,
        Bar,
        Plain,
        r"^(?P<phase>[^\[\]|]*?)[:\s]*[\[|][█▉▊▋▌▍▎▏░▒▓━╸╺=#\-.> ]{5,}[\]|] *\(?CUR ?/ ?TOT\b",
    ),
    ("a count", Growing, Bar, Shuffled, r"^\[ *CUR ?/ ?TOT\] (?P<message>\S.*)"),
    ("a count", Growing, Bar, Shuffled, r"^\( *CUR ?/ ?TOT\) (?P<message>\S.*)"),
    ("a count", Growing, Bar, Shuffled, r"^(?:[\[(] *CUR of TOT[\])])[\s:.,)-]*(?P<message>.*)"),
    (
        "a count",
        Growing,
        Bar,
        Shuffled,
        r"^(?P<phase>[Ss]tep|STEP|[Ee]poch|[Ff]ile|[Ii]tem|[Bb]atch|[Tt]ask|[Pp]art|[Cc]hunk|[Ss]tage|[Pp]hase|[Pp]ackage) CUR(?:/| of )TOT\b[\s:.,)-]*(?P<message>.*)",
    ),
    ("a count", Redrawn, Bar, Plain, r"^(?P<phase>[^\d%]*?)[\s:\[(]*CUR ?(?:/| of | out of ) ?TOT(?:[\s\]),:;]|$)"),
    // A redrawn line with a single, separate percentage.
    ("a percentage", Redrawn, Bar, Plain, r"^(?P<phase>[^%]*?)(?:^|[\s\[(|:=/#>])P%(?:$|[\s\])|,:;…])[^%]*$"),
];
