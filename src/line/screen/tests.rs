use proptest::prelude::*;

use super::differential_tests::fragments;
use super::*;

/// The lines of an output, and what is open after them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) lines: Vec<String>,
    pub(super) live: Vec<String>,
    source: u64,
}

pub(super) fn show(line: Line<'_>) -> String {
    let mark = if line.continued {
        "+"
    } else if line.partial {
        "..."
    } else {
        ""
    };
    String::from_utf8_lossy(line.text).into_owned() + mark
}

/// What happens at the end of an output.
pub(super) type EndOfOutput = fn(&mut Screen, &mut dyn FnMut(Line<'_>));

pub(super) fn play(chunks: &[&[u8]], (columns, rows): (u16, u16), end: EndOfOutput) -> Seen {
    let mut screen = Screen::terminal(1000, columns, rows);
    let mut seen = Seen::default();
    let Seen { lines, source, .. } = &mut seen;
    let mut take = |line: Line<'_>| {
        *source += line.source;
        lines.push(show(line));
    };
    for chunk in chunks {
        screen.push(chunk, &mut take);
    }
    end(&mut screen, &mut take);
    seen.live = screen.live_rows().iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect();
    seen.source += screen.held();
    seen
}

pub(super) fn leave(_: &mut Screen, _: &mut dyn FnMut(Line<'_>)) {}

fn settle(screen: &mut Screen, sink: &mut dyn FnMut(Line<'_>)) {
    screen.settle(sink);
}

pub(super) fn finish(screen: &mut Screen, sink: &mut dyn FnMut(Line<'_>)) {
    screen.finish(sink);
}

const PIPE: (u16, u16) = (PIPE_COLUMNS, PIPE_ROWS);

/// What a program wrote, and the lines at its end.
type FinalLines = (&'static str, &'static [&'static str]);

#[test]
fn a_line_is_what_a_terminal_shows() {
    let table: &[FinalLines] = &[
        ("one\ntwo", &["one", "two..."]),
        ("one\r\ntwo\r\n", &["one", "two"]),
        ("10%\r20%\n", &["20%"]),
        ("one\r\r\n", &["one"]),
        ("100%\r20\n", &["200%"]),
        ("100%\r20\x1b[K\n", &["20"]),
        ("10%\r\x1b[K20%\n", &["20%"]),
        ("10%\x1b[2K\r20%\n", &["20%"]),
        ("10%\x1b[2K\x1b[1G20%\n", &["20%"]),
        ("10%\x1b[1G\x1b[0K", &[]),
        ("10%\r\x1b[K\ndone\n", &["done"]),
        ("10%\r    \r\ndone\n", &["done"]),
        ("\n\na\n\n", &["", "", "a", ""]),
        ("\x1b[0m\na\n", &["", "a"]),
        ("[1/2] a\x1b[K\r[2/2] b\x1b[K\n", &["[2/2] b"]),
        ("\x1b[?25l|\r/\r-\x1b[?25h\n", &["-"]),
        ("\x1b[31mred\x1b[0m\n", &["\x1b[31mred\x1b[0m"]),
        ("\x1b[01m\x1b[Kx.c:1:\x1b[m\x1b[K y\n", &["\x1b[1mx.c:1:\x1b[0m y"]),
        // Backspaces, as of 7-Zip and mkfs.
        (
            "  0%\x08\x08\x08\x08    \x08\x08\x08\x08 20% x\x08\x08\x08\x08\x08\x08      \x08\x08\x08\x08\x08\x08done\n",
            &["done"],
        ),
        ("1/3\x08\x08\x082/3\x08\x08\x083/3\n", &["3/3"]),
        // Movements in a line.
        ("load 10%\x1b[8D\x1b[Kload 20%\n", &["load 20%"]),
        ("\x1b7a 10%\x1b8a 20%\n", &["a 20%"]),
        ("\x1b[sa 10%\x1b[ua 20%\n", &["a 20%"]),
        ("abcdef\x1b[4D\x1b[2P\n", &["abef"]),
        ("abef\x1b[2D\x1b[2@cd\n", &["abcdef"]),
        ("abef\x1b[2D\x1b[4hc日\x1b[4l\n", &["abc日ef"]),
        ("abcdef\x1b[4D\x1b[2X\n", &["ab  ef"]),
        ("a\x1b[2Mb\n", &["b"]),
        ("ab\x1b[3bc\n", &["abbbbc"]),
        ("a\x1b[5Cb\n", &["a     b"]),
        ("a\tb\x1b[0m\tc\n", &["a\tb\tc"]),
        ("a\tb\rX\n", &["X\tb"]),
        ("a\tb\x1b[4GX\n", &["a  X    b"]),
        // Sequences without an effect on the text.
        ("\x1b]0;title\x07a\x1b]133;A\x1b\\b\x1bP1$q\x1b\\c\x1b_Gx\x1b\\d\x1b[?2004h\x1b[>1ue\n", &["abcde"]),
        ("\x1b]52;c;aGk=\x07a\x1b[18t\x1b[6nb\x1b=\x1b>\n", &["ab"]),
        ("a\x1b]8;;http://x/\x1b\\link\x1b]8;;\x07 b\n", &["a\x1b]8;;http://x/\x1b\\link\x1b]8;;\x1b\\ b"]),
        ("\x1b(0lqk\x1b(B\x1b[0m\n", &["┌─┐"]),
        // The C1 controls in UTF-8.
        ("\u{9b}31mred\u{9b}0m\n", &["\x1b[31mred\x1b[0m"]),
        ("10%\u{9b}1G\u{9b}K20%\n", &["20%"]),
        ("a\u{9d}0;title\u{9c}b\u{90}q\x07\u{9c}c\u{9f}x\x1b\\d\x1b]0;\u{9b}1mé\u{9c}e\n", &["abcde"]),
        ("a\u{85}b\u{84}\u{8d}\u{80}\u{99}c\n", &["a", "bc"]),
        ("\x1b[1;\u{9b}31mred\x1b[0m\n", &["\x1b[31mred\x1b[0m"]),
        ("5 °C, £3\u{a0}\u{a7}\n", &["5 °C, £3\u{a0}\u{a7}"]),
        // A broken sequence hides nothing behind it.
        ("a\x1b[31é1mb\n\x1bé\ncd\n", &["aé1mb", "é", "cd"]),
        // A sequence whose end was lost ends with its line.
        ("a\x1b]0;title\nb\n", &["a", "b"]),
        ("a\x1b[3\nb\n", &["a", "b"]),
        // Pictures may have line ends inside.
        ("a\x1bPq#0\n~~\n\x1b\\b\n", &["ab"]),
        ("a\x1b_Gx\nb\n", &["a", "b"]),
        // Characters that cover two columns or none.
        ("日本\r語\n", &["語本"]),
        ("日本\rx\n", &["x 本"]),
        ("e\u{301}\r\x1b[1mx\x1b[0m\n", &["\x1b[1mx\x1b[0m"]),
        ("\x1b[1me\u{301}\x1b[0m\n", &["\x1b[1me\u{301}\x1b[0m"]),
        ("\x1b[1m👩\u{200d}🚒\x1b[0m\n", &["\x1b[1m👩\u{200d}🚒\x1b[0m"]),
        // A colour that is left open continues in the next line.
        ("\x1b[31mone\ntwo\x1b[0m\nthree\n", &["\x1b[31mone\x1b[0m", "\x1b[31mtwo\x1b[0m", "three"]),
        // Foldable sections.
        ("section_start:7:a\r\x1b[0KTitle\n", &["section_start:7:a Title"]),
        ("x\nsection_end:7:a\r\x1b[0K\n", &["x", "section_end:7:a"]),
        ("section_end:7:a\r\x1b[0Ksection_start:8:b\r\x1b[0KTitle\n", &["section_end:7:a section_start:8:b Title"]),
        ("travis_fold:start:a\r\x1b[0Kmake\n", &["travis_fold:start:a make"]),
        (
            "travis_fold:start:a\r\x1b[0Ktravis_time:start:1f\r\x1b[0K$ make\n",
            &["travis_fold:start:a travis_time:start:1f $ make"],
        ),
        ("half\x1b[", &["half..."]),
        ("\x1b[1mé", &["\x1b[1mé\x1b[0m..."]),
        // Control characters leave nothing, and blanks at the end stay unless the row is drawn over.
        ("a\0b\n\x07c\n", &["ab", "c"]),
        ("\x1b[ma\0b\n\x7fc\x05\n", &["ab", "c"]),
        ("a\x0bb\n", &["a", "b"]),
        ("a  \nb\t\n\x1b[1mc\x1b[0m  \n\x1b[md\t\n", &["a  ", "b\t", "\x1b[1mc\x1b[0m  ", "d\t"]),
        ("abc\rd    \n", &["d"]),
    ];
    for (text, expected) in table {
        let seen = play(&[text.as_bytes()], PIPE, finish);
        assert_eq!(&seen.lines, expected, "{text:?}");
        assert!(seen.live.is_empty() && seen.source <= text.len() as u64, "{text:?}: {seen:?}");
    }
}

#[test]
fn a_lone_newline_commits_its_line_at_once() {
    for (text, lines, live) in [
        ("one\ntwo\nthr", &["one", "two"][..], &["thr"][..]),
        ("\x1b[1mone\x1b[0m\n", &["\x1b[1mone\x1b[0m"], &[]),
        // A drawn line waits for text below it that does not begin with CR.
        ("10%\r20%\n", &[], &["20%"]),
        ("10%\r20%\nn", &["20%"], &["n"]),
        ("10%\r20%\n\rn", &[], &["20%", "n"]),
        ("10%\r20%\nnext\n", &["20%", "next"], &[]),
        // As Cargo does it.
        (" [=>  ] 1/2\r\x1b[K Compiling a\n [==> ] 2/2\r", &[" Compiling a"], &[" [==> ] 2/2"]),
        ("10%\r20%\nx 1%\rx 2%\nnext\n", &["20%", "x 2%", "next"], &[]),
        ("10%\r20%\n\n", &["20%", ""], &[]),
    ] {
        let seen = play(&[text.as_bytes()], PIPE, leave);
        assert_eq!((seen.lines, seen.live), (owned(lines), owned(live)), "{text:?}");
    }
}

pub(super) fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(ToString::to_string).collect()
}

#[test]
fn a_block_is_live_and_its_final_lines_come_once() {
    let docker = "a: wait\nb: wait\n\x1b[2A\x1b[2K\ra: 10% \r\x1b[2B\x1b[1A\x1b[2K\rb: 50% \r\x1b[1B\x1b[2A\x1b[2K\ra: done\r\x1b[2B";
    let seen = play(&[docker.as_bytes()], PIPE, settle);
    assert_eq!((seen.lines, seen.live), (owned(&["a: wait", "b: wait"]), owned(&["a: done", "b: 50%"])));
    let after = format!("{docker}Digest: 1\n");
    let expected = owned(&["a: wait", "b: wait", "a: done", "b: 50%", "Digest: 1"]);
    assert_eq!(play(&[after.as_bytes()], PIPE, leave).live, owned(&["a: done", "b: 50%", "Digest: 1"]));
    assert_eq!(play(&[after.as_bytes()], PIPE, settle).lines, expected);
    assert_eq!(play(&[after.as_bytes()], PIPE, finish).lines, expected);
    let table: &[FinalLines] = &[
        ("- one\n- two\x1b[2K\x1b[1A\x1b[2K\x1b[Gx one\nx two\n", &["- one", "x one", "x two"]),
        ("a\n\x1b[1AA\nb\n\x1b[2AAA\nbb\nc\n", &["a", "AA", "bb", "c"]),
        // Only a row that changed comes again.
        ("a 1\nb 1\nc 1\n\x1b[3A\x1b[2Ka 1\n\x1b[2Kb 2\n\x1b[2Kc 1\n", &["a 1", "b 1", "c 1", "b 2"]),
        // A status that is erased at its end: of rich, and nested bars of tqdm.
        ("\r| working\r/ working\n\x1b[?25h\r\x1b[1A\x1b[2Kdone\n", &["done"]),
        (
            "\r 0% outer\n\r 0% inner\x1b[A\n\r50% inner\x1b[A\r50% outer\n\r         \r\x1b[A\r99% outer\n",
            &["99% outer"],
        ),
        // Lines above a block, which move it down.
        (
            "\r\x1b[2Ka 1\n\r\x1b[2Kb 1\x1b[1A\r\x1b[2Klog 1\n\x1b[2Ka 2\n\x1b[2Kb 2\x1b[1A\r\x1b[2Klog 2\n\x1b[2Ka 3\n\x1b[2Kb 3\n",
            &["log 1", "log 2", "a 3", "b 3"],
        ),
        // A screen that is redrawn again and again, and screens that are cleared, so that all is new.
        ("\x1b[H\x1b[Jone\ntwo\n\x1b[H\x1b[Jone\n3\n", &["one", "two", "3"]),
        ("\x1b[H\x1b[2Jone\ntwo\n\x1b[H\x1b[2Jone\n3\n", &["one", "two", "one", "3"]),
        ("one\ntwo\n\x1b[H\x1b[2J\x1b[3Jone\ntwo\n", &["one", "two", "one", "two"]),
        ("one\ntwo\n\x1bcone\ntwo\n", &["one", "two", "one", "two"]),
        // The alternate screen leaves nothing.
        ("a\n\x1b[?1049h\x1b[Hvi\n~\n\x1b[?1049lb\n", &["a", "b"]),
        ("a\n\x1b[?1049h\x1b[Hvi", &["a"]),
    ];
    for (text, expected) in table {
        assert_eq!(&play(&[text.as_bytes()], PIPE, finish).lines, expected, "{text:?}");
    }
}

#[test]
fn lines_that_push_a_block_down_are_committed_when_it_has_moved() {
    let mut text = "bar 1\n".to_owned();
    for number in 1..6 {
        text += &["\x1b[1A\x1b[Llog ", &number.to_string(), "\nbar ", &number.to_string(), "\n"].concat();
    }
    let seen = play(&[text.as_bytes()], PIPE, leave);
    assert_eq!(seen.lines, owned(&["bar 1", "log 1", "log 2", "log 3", "log 4"]));
    assert_eq!(seen.live, owned(&["log 5", "bar 5"]));
}

#[test]
fn a_newline_below_a_block_ends_it_in_time() {
    for end in ["\n", "x\n", "\n\n"] {
        let text = ["a\nb\n\x1b[2A\x1b[KA\n\x1b[KB\n", end].concat();
        let seen = play(&[text.as_bytes()], PIPE, settle);
        assert_eq!(seen.lines[2..4], ["A", "B"], "{end:?}");
        assert!(seen.live.is_empty(), "{end:?}");
    }
}

#[test]
fn a_cursor_that_stays_above_does_not_hold_back_the_lines_below() {
    let text = "bar 1\n\x1b[1A\x1b[2Kbar 2\nlog 1\nlog 2\n\x1b[3A";
    let seen = play(&[text.as_bytes()], PIPE, settle);
    assert_eq!(seen.lines, ["bar 1", "log 1", "log 2"]);
    // The bar is still drawn, and what was committed comes no second time.
    assert_eq!(seen.live, ["bar 2", "log 1", "log 2"]);
    let mut screen = Screen::terminal(1000, PIPE.0, PIPE.1);
    let mut lines = Vec::new();
    let mut take = |line: Line<'_>| lines.push(show(line));
    screen.push(text.as_bytes(), &mut take);
    screen.settle(&mut take);
    assert_eq!(screen.unsettled(), None);
    screen.push(b"\x1b[2Kbar 3\n\x1b[2B", &mut take);
    screen.finish(&mut take);
    assert_eq!(lines, ["bar 1", "log 1", "log 2", "bar 3"]);
}

#[test]
fn rows_that_are_filled_up_with_blanks_are_lines_of_their_own() {
    // As indicatif draws several bars: there is no line end between them.
    let row = |text: &str| format!("{text:<20}");
    let frame = |percent| {
        "\x1b[1A\r\x1b[2K\x1b[1B\r\x1b[2K\x1b[1A".to_owned()
            + &row(&format!("a {percent}%"))
            + &row(&format!("b {percent}%"))
    };
    let log = "\x1b[1A\r\x1b[2K\x1b[1B\r\x1b[2K\x1b[1A".to_owned()
        + &row("log 1")
        + &row("log 2")
        + &row("a 3%")
        + &row("b 3%");
    let text = row("a 0%") + &row("b 0%") + &frame(1) + &frame(2) + &log;
    let seen = play(&[text.as_bytes()], (20, 8), leave);
    assert_eq!(seen.live, ["log 1", "log 2", "a 3%", "b 3%"]);
    assert_eq!(play(&[(text + "\n").as_bytes()], (20, 8), finish).lines, ["log 1", "log 2", "a 3%", "b 3%"]);
    // The words of a sentence line stay together.
    let sentence = "one two three four  five six  seven eight nine ten";
    assert_eq!(play(&[format!("{sentence}\n").as_bytes()], (19, 8), finish).lines, [sentence]);
}

#[test]
fn lines_above_a_block_are_committed_when_it_has_moved_down() {
    let frame = |log: &str, percent| format!("\x1b[2A\r\x1b[J{log}\na {percent}%\nb {percent}%\n");
    let text = ["a 0%\nb 0%\n".to_owned(), frame("log 1", 1), frame("log 2", 2), frame("log 3", 3)].concat();
    let seen = play(&[text.as_bytes()], PIPE, leave);
    assert_eq!(seen.lines, owned(&["a 0%", "b 0%", "log 1", "log 2"]));
    assert_eq!(seen.live, owned(&["log 3", "a 3%", "b 3%"]));
}

#[test]
fn a_wrapped_line_is_one_line() {
    let long: String = ('a'..='z').collect();
    for end in [leave, finish] {
        let seen = play(&[format!("\x1b[1m{long}\x1b[0m\nnext\n").as_bytes()], (10, 4), end);
        assert_eq!(seen.lines, [format!("\x1b[1m{long}\x1b[0m"), "next".to_owned()]);
    }
    // Longer than the screen, and then longer than a line may be.
    let longer = long.repeat(30);
    let seen = play(&[format!("\x1b[1m{longer}\x1b[0m\n").as_bytes()], (10, 4), finish);
    assert_eq!(seen.lines, [format!("\x1b[1m{longer}\x1b[0m")]);
    let longest = long.repeat(90);
    let seen = play(&[format!("\x1b[1m{longest}\x1b[0m\nnext\n").as_bytes()], (10, 4), finish);
    let joined: String = seen.lines.iter().map(|line| line.trim_end_matches('+')).collect();
    assert_eq!(joined, format!("\x1b[1m{longest}\x1b[0mnext"));
    assert!(seen.lines.iter().all(|line| line.len() <= 1001), "{:?}", seen.lines);
}

#[test]
fn a_bar_that_fills_the_width_stays_one_when_the_width_changes() {
    let bar = |columns: usize, at: usize| format!("\r[{:-<1$}]", "=".repeat(at), columns - 2);
    // The width and height before and after, and what is shown then.
    for (before, after) in [((20, 5), (10, 5)), ((10, 5), (20, 5)), ((10, 5), (10, 2)), ((20, 2), (10, 1))] {
        let mut lines = Vec::new();
        let mut screen = Screen::terminal(1000, before.0, before.1);
        let mut take = |line: Line<'_>| lines.push(show(line));
        screen.push(b"one\n\x1b[1mtwo\x1b[0m\n", &mut take);
        screen.push((bar(before.0.into(), 2) + &bar(before.0.into(), 3)).as_bytes(), &mut take);
        screen.resize(after.0, after.1, &mut take);
        screen.push(bar(after.0.into(), 4).as_bytes(), &mut take);
        let live: Vec<_> = screen.live_rows().iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect();
        assert_eq!(live, [bar(after.0.into(), 4).trim_start()], "{before:?} {after:?}");
        screen.push(b"\nnext\n", &mut take);
        let last = bar(after.0.into(), 4).trim_start().to_owned();
        assert_eq!(lines, ["one", "\x1b[1mtwo\x1b[0m", &last, "next"], "{before:?} {after:?}");
    }
}

#[test]
fn a_line_loses_nothing_when_the_width_changes() {
    for (before, after) in [(20, 10), (10, 20), (10, 5), (15, 16), (15, 14)] {
        let mut lines = Vec::new();
        let mut screen = Screen::terminal(1000, before, 5);
        screen.push(b"\x1b[1mabcdefghijklmno", |line| lines.push(show(line)));
        screen.resize(after, 5, |line| lines.push(show(line)));
        screen.push(b"pqrstuvwxyz\x1b[0m\n", |line| lines.push(show(line)));
        assert_eq!(lines, ["\x1b[1mabcdefghijklmnopqrstuvwxyz\x1b[0m"], "{before} {after}");
    }
    // The main screen changes its size while another one is shown.
    let mut lines = Vec::new();
    let mut screen = Screen::terminal(1000, 10, 5);
    screen.push(b"\x1b[1mone\x1b[0m\ntwo\nthree\n\x1b[?1049h\x1b[Hvi\x1b[5;9H~", |line| lines.push(show(line)));
    screen.resize(6, 2, |line| lines.push(show(line)));
    screen.push(b"\x1b[5;9Hx\x1b[?1049lfour\n", |line| lines.push(show(line)));
    assert_eq!(lines, ["\x1b[1mone\x1b[0m", "two", "three", "four"]);
}

#[test]
fn plain_lines_do_not_pass_through_the_grid() {
    let mut screen = Screen::terminal(1000, PIPE_COLUMNS, PIPE_ROWS);
    let mut count = 0;
    for _ in 0..1000 {
        screen.push(b"one line\r\nand\tanother\n", |_| count += 1);
        let terminal = screen.terminal.as_ref().unwrap();
        assert!(!terminal.uses_grid && terminal.grid.rows.is_empty());
        assert!(terminal.recent.len() <= 17_000, "{}", terminal.recent.len());
    }
    assert_eq!(count, 2000);
    // A program may move up to them all the same.
    let mut lines = Vec::new();
    screen.push(b"\x1b[2A\x1b[2Ktwo\n\x1b[1B", |line| lines.push(show(line)));
    screen.finish(|line| lines.push(show(line)));
    assert_eq!(lines, ["two"]);
}

#[test]
fn lines_of_text_and_colours_do_not_pass_through_the_grid() {
    let mut screen = Screen::terminal(1000, PIPE_COLUMNS, PIPE_ROWS);
    let mut lines = Vec::new();
    for text in ["\x1b[01;31mred\x1b[m\n", "plain\n", "\x1b[2mé\x1b[0m\r\n\x1b[4:3m\ta\x1b[24m b\n"] {
        screen.push(text.as_bytes(), |line| lines.push(show(line)));
        let terminal = screen.terminal.as_ref().unwrap();
        assert!(!terminal.uses_grid && terminal.grid.rows.is_empty(), "{text:?}");
    }
    assert_eq!(lines, ["\x1b[1;31mred\x1b[0m", "plain", "\x1b[2mé\x1b[0m", "\x1b[4:3m\ta\x1b[0m b"]);
    assert_eq!(screen.held(), 0);
    // A program may move up to them all the same.
    screen.push(b"\x1b[2A\x1b[2Ktwo\n\x1b[1B", |line| lines.push(show(line)));
    screen.finish(|line| lines.push(show(line)));
    assert_eq!(lines[4..], ["two"]);
}

#[test]
fn the_model_is_bounded() {
    let mut screen = Screen::terminal(1000, PIPE_COLUMNS, PIPE_ROWS);
    let mut lines = 0;
    for round in 0..2000 {
        let drawing = format!("\x1b[3A\x1b[2K\r{round} of 2000\n\x1b[2K[=====>   ]\n\x1b[2Kx\n");
        screen.push(drawing.repeat(20).as_bytes(), |_| lines += 1);
    }
    // The first drawing, whose last rows were not drawn over.
    assert_eq!(lines, 3);
    screen.push("\x1b]8;;http://".as_bytes(), |_| lines += 1);
    for _ in 0..1000 {
        screen.push(&[b'x'; 10_000], |_| lines += 1);
    }
    assert!(screen.terminal.as_ref().unwrap().sequence.bytes().len() <= 8 << 10);
    for number in 0..10_000 {
        screen.push(format!("\x1b]8;;http://{number}\x07{number}\x1b]8;;\x07\n").as_bytes(), |_| lines += 1);
    }
    let grid = &screen.terminal.as_ref().unwrap().grid;
    assert!(grid.links.target(4097).is_none() && grid.rows.len() <= 24);
    for _ in 0..1000 {
        screen.push("e\u{301}".repeat(1000).as_bytes(), |_| lines += 1);
    }
    assert!(screen.held() > 0 && lines > 9_000);
}

#[test]
fn a_packed_state_is_bounded_and_has_a_version() {
    let mut screen = Screen::terminal(1 << 20, u16::MAX, u16::MAX);
    for number in 0..2000 {
        screen.push(format!("\x1b[{}m{}\x1b[0m\n", 31 + number % 7, "x".repeat(900)).as_bytes(), |_| {});
    }
    let packed = screen.pack().unwrap();
    assert!(packed.len() <= MAX_PACKED_SIZE && packed.len() > MAX_PACKED_SIZE / 4, "{}", packed.len());
    assert!(Screen::unpack(&packed, 1000).is_ok());
    let other = String::from_utf8(packed).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    let error = Screen::unpack(other.as_bytes(), 1000).unwrap_err();
    assert_eq!(error.to_string(), "the state of a terminal has version 2, and this program reads version 1");
    assert!(matches!(Screen::unpack(b"{", 1000), Err(UnpackError::Damaged(_))));
    let lines = LineSplitter::new(10, crate::line::CarriageReturnMode::Keep);
    assert_eq!(Screen::undrawn(lines).pack(), None);
}

#[test]
fn characters_may_be_split_between_reads() {
    let text = "\x1b[1méa日b👩c\x1b[0m\n".as_bytes();
    for size in 1..6 {
        let chunks: Vec<&[u8]> = text.chunks(size).collect();
        assert_eq!(play(&chunks, PIPE, finish).lines, ["\x1b[1méa日b👩c\x1b[0m"], "{size}");
    }
    for (bytes, expected) in
        [(&b"\x1b[m\xc3\n"[..], "\u{fffd}"), (b"\x1b[m\xe2\x82", "\u{fffd}..."), (b"\x1b[m\xc3\x1b[mx\n", "\u{fffd}x")]
    {
        for size in 1..6 {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(play(&chunks, PIPE, finish).lines, [expected], "{bytes:?} {size}");
        }
    }
}

#[test]
fn the_bytes_of_text_that_is_not_emitted_are_held() {
    // What is written after lines, and how much of it a restart must read again.
    for (text, held) in [("", 0), ("  ", 2), ("\t", 1), ("\x1b[1m ", 5), ("a", 1), ("  \r", 3), ("  \n", 0)] {
        // The bar is committed by what is written after it, and rows of a block by the movement above them.
        for before in ["10%\r20%\n", "a\n\x1b[A\x1b[Kb\n", "\x1b[1;31ma\x1b[0m\n", "a\n"] {
            let mut screen = Screen::terminal(1000, PIPE_COLUMNS, PIPE_ROWS);
            screen.push(before.as_bytes(), |_| {});
            screen.settle(|_| {});
            screen.push(text.as_bytes(), |_| {});
            assert_eq!(screen.held(), held, "{before:?} {text:?}");
            screen.finish(|_| {});
            assert_eq!(screen.held(), 0, "{before:?} {text:?}");
        }
    }
    // Text that commits what was drawn before is not lost with it.
    for text in ["  ", "\t"] {
        let mut screen = Screen::terminal(1000, PIPE_COLUMNS, PIPE_ROWS);
        screen.push(b"10%\r20%\n", |_| {});
        screen.push(text.as_bytes(), |_| {});
        assert!(screen.held() >= text.len() as u64, "{text:?}");
    }
}

#[test]
fn progress_by_osc_leaves_no_text() {
    let mut screen = Screen::terminal(1000, PIPE_COLUMNS, PIPE_ROWS);
    let mut lines = Vec::new();
    screen.push(b"\x1b]9;4;1;10\x07", |line| lines.push(show(line)));
    assert_eq!(screen.take_reported_progress().as_deref(), Some(&b"9;4;1;10"[..]));
    assert_eq!((screen.take_reported_progress(), screen.is_open()), (None, false));
    screen.push(b"\x1b]9;4;1;20\x1b\\a\x1b]9;4;0\x07\n", |line| lines.push(show(line)));
    assert_eq!(screen.take_reported_progress().as_deref(), Some(&b"9;4;0"[..]));
    assert_eq!(lines, ["a"]);
}

proptest! {
    #[test]
    fn where_reads_end_never_shows(
        parts in prop::collection::vec(fragments(), 0..40),
        ends in prop::collection::vec(1usize..5, 1..30),
    ) {
        let text = parts.concat();
        let mut chunks = Vec::new();
        let mut rest = text.as_bytes();
        for end in ends.iter().cycle() {
            if rest.is_empty() { break; }
            let (chunk, after) = rest.split_at((*end).min(rest.len()));
            chunks.push(chunk);
            rest = after;
        }
        let whole = play(&[text.as_bytes()], (12, 5), leave);
        prop_assert_eq!(whole.source, text.len() as u64);
        prop_assert_eq!(play(&chunks, (12, 5), leave), whole);
        prop_assert_eq!(play(&chunks, (12, 5), finish).lines, play(&[text.as_bytes()], (12, 5), finish).lines);
    }

    #[test]
    fn a_line_with_colours_is_the_same_with_and_without_the_grid(
        parts in prop::collection::vec(prop::sample::select(vec![
            "a", "b c", "  ", "\t", "é", "日", "e\u{301}", "\u{301}", "\0", "abcdefghijk", "\x1b[1;31m", "\x1b[m", "\x1b[0m", "\x1b[0m",
            "\x1b[;4:3m", "\x1b[38:5:208m", "\x1b[48;2;1;2;3m", "\x1b[999999;1m", "\x1b[39;49;22m", "\x1b[K", "\x1b[0m\n", "\x1b[m\r\n",
            "\x1b[m\n", "section_end:1:a\r\n", "\x1b[1A",
        ]), 0..40),
        size in prop::sample::select(vec![(12, 5), PIPE]),
    ) {
        let text = parts.concat();
        // A line that comes in two reads is written to the grid.
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        let whole = play(&[text.as_bytes()], size, leave);
        prop_assert_eq!(whole.source, text.len() as u64);
        prop_assert_eq!(play(&chunks, size, leave), whole);
        // Bytes that leave nothing at the end count for no line, and which do depends on the reads.
        prop_assert_eq!(play(&[text.as_bytes()], size, finish).lines, play(&chunks, size, finish).lines);
    }

    #[test]
    fn a_packed_screen_continues_as_if_nothing_had_happened(
        before in prop::collection::vec(fragments(), 0..40),
        cut in 0usize..4,
        after in prop::collection::vec(fragments(), 0..20),
    ) {
        // The state may be packed in the middle of a sequence or a character.
        let text = before.concat();
        let text = &text.as_bytes()[..text.len().saturating_sub(cut)];
        let mut screen = Screen::terminal(1000, 12, 5);
        screen.push(text, |_| {});
        let packed = screen.pack().unwrap();
        let mut other = Screen::unpack(&packed, 1000).unwrap();
        prop_assert_eq!(other.live_rows(), screen.live_rows());
        let (mut lines, mut other_lines) = (Vec::new(), Vec::new());
        for part in &after {
            screen.push(part.as_bytes(), |line| lines.push(show(line)));
            other.push(part.as_bytes(), |line| other_lines.push(show(line)));
            prop_assert_eq!(&lines, &other_lines);
            prop_assert_eq!(other.live_rows(), screen.live_rows());
        }
        screen.finish(|line| lines.push(show(line)));
        other.finish(|line| other_lines.push(show(line)));
        prop_assert_eq!(lines, other_lines);
    }

    #[test]
    fn a_damaged_state_is_refused_or_used(
        before in prop::collection::vec(fragments(), 0..40),
        at in any::<prop::sample::Index>(),
        digit in b'0'..=b'9',
        after in prop::collection::vec(fragments(), 0..20),
    ) {
        let mut screen = Screen::terminal(1000, 12, 5);
        screen.push(before.concat().as_bytes(), |_| {});
        let mut packed = screen.pack().unwrap();
        // A digit becomes another one, or two.
        let digits: Vec<usize> = (0..packed.len()).filter(|at| packed[*at].is_ascii_digit()).collect();
        packed.insert(digits[at.index(digits.len())], digit);
        if let Ok(mut screen) = Screen::unpack(&packed, 1000) {
            screen.push(after.concat().as_bytes(), |_| {});
            screen.finish(|_| {});
        }
    }

    #[test]
    fn a_screen_may_have_any_size_at_any_time(
        parts in prop::collection::vec((fragments(), prop::option::weighted(0.2, (1u16..20, 1u16..8))), 0..40),
    ) {
        let mut screen = Screen::terminal(1000, 12, 5);
        for (part, size) in parts {
            screen.push(part.as_bytes(), |_| {});
            if let Some((columns, rows)) = size {
                screen.resize(columns, rows, |_| {});
                let grid = &screen.terminal.as_ref().unwrap().grid;
                prop_assert!(grid.rows.len() <= grid.height && grid.cursor.row < grid.height);
            }
            prop_assert!(Screen::unpack(&screen.pack().unwrap(), 1000).is_ok());
        }
        screen.finish(|_| {});
        prop_assert!(!screen.is_open());
    }
}
