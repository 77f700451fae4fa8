//! The model against another emulator, with random programs.

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::Screen;

/// The bytes that programs write, and fragments of control functions.
pub(super) fn fragments() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "bc",
        "d e",
        "日",
        "é",
        "\r",
        "\n",
        "\n",
        "\n",
        "\r\n",
        "\x08",
        "\x1b[K",
        "\x1b[1K",
        "\x1b[2K",
        "\x1b[G",
        "\x1b[5G",
        "\x1b[1A",
        "\x1b[2A",
        "\x1b[3A",
        "\x1b[B",
        "\x1b[2B",
        "\x1b[C",
        "\x1b[3C",
        "\x1b[D",
        "\x1b[2D",
        "\x1b[J",
        "\x1b[1J",
        "\x1b[2J",
        "\x1b[H",
        "\x1b[3;4H",
        "\x1b[2d",
        "\x1b[E",
        "\x1b[F",
        "\x1b[2P",
        "\x1b[2@",
        "\x1b[2X",
        "\x1b[L\r",
        "\x1b[2M\r",
        "\x1b[S",
        "\x1b[T",
        "\x1b7",
        "\x1b8",
        "\x1b[s",
        "\x1b[u",
        "\x1bM",
        "\x1bD",
        "\x1bE",
        "\x1b[2;4r",
        "\x1b[r",
        "\x1b[31m",
        "\x1b[0m",
        "\x1b[44m",
        "\x1b[?25l",
        "\x1b[?7l",
        "\x1b[?7h",
        "\x1b[?1049h",
        "\x1b[?1049l",
        "\x1b]0;t\x07",
        "wxyzwxyz",
        "x\x1b[3b",
        "\u{9b}2K",
        "\u{9b}31m",
        "\u{9d}0;t\u{9c}",
    ])
}

/// Programs, and the columns and rows of the screen on which they run.
fn programs() -> impl Strategy<Value = (Vec<&'static str>, usize, usize)> {
    (prop::collection::vec(fragments(), 0..60), 2usize..30, 5usize..9)
}

proptest! {
    // As many programs as run within 3 s without optimization.
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn the_lines_are_those_of_an_independent_terminal((parts, columns, rows) in programs()) {
        compare(&parts, columns, rows)?;
    }
}

/// Many more programs than a test has time for: `cargo test --release --lib an_independent_terminal -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn a_million_programs_agree_with_an_independent_terminal() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1_000_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner.run(&programs(), |(parts, columns, rows)| compare(&parts, columns, rows)).unwrap();
}

/// The visible text of lines, without blanks at their ends and without blank lines.
fn lines_of<'a>(lines: impl Iterator<Item = &'a avt::Line>) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in lines {
        let text = found.last_mut().unwrap();
        text.push_str(&line.text());
        if !line.is_wrapped() {
            *text = text.trim_end().to_owned();
            found.push(String::new());
        }
    }
    found.retain(|line| !line.trim().is_empty());
    found
}

/// Runs a program on the model and on another emulator. Each line of its final screen, and each that has scrolled off, must
/// have been committed; and each committed line must have been on the screen at some time.
fn compare(parts: &[&str], columns: usize, rows: usize) -> Result<(), TestCaseError> {
    let size = (u16::try_from(columns).unwrap(), u16::try_from(rows).unwrap());
    let mut screen = Screen::terminal(1 << 20, size.0, size.1);
    let mut other = avt::Terminal::with_scrollback(columns, rows, None).unwrap();
    let mut committed = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let (mut has_region, mut wraps) = (false, true);
    for part in parts {
        // A wide character that does not fit into a row leaves a blank there, which is no part of the line.
        if *part == "日" && (other.cursor().col + 1 == columns || !wraps) {
            continue;
        }
        // Without autowrap, it repeats the character before the last one.
        // (The mode is restored with the cursor.)
        wraps &= *part != "\x1b[?7l";
        if part.ends_with('b') && part.len() > 1 && !wraps {
            continue;
        }
        // The other emulator keeps lines that are deleted at the top; xterm, and the model, erase them. It also inserts and
        // deletes lines outside of the region. (Its insert mode has faults, and is not compared.)
        has_region = if part.ends_with('r') { part.contains(';') } else { has_region };
        if (*part == "\x1b[2M\r" && other.cursor().row == 0) || (part.ends_with('\r') && part.len() > 1 && has_region) {
            continue;
        }
        // It wraps even after the cursor has moved down or up from the end of a full row; xterm, and the model, do not.
        if matches!(*part, "\x1bD" | "\x1bM") && other.cursor().col == columns {
            continue;
        }
        // It joins what is inserted at the top with the line above, if that was wrapped.
        let above = other.primary_screen().all_lines().count() - rows;
        let is_joined =
            above > 0 && other.primary_screen().all_lines().nth(above - 1).is_some_and(avt::Line::is_wrapped);
        if is_joined && matches!(*part, "\x1b[T" | "\x1bM" | "\x1b[L\r") {
            continue;
        }
        // It continues a wrapped line whose rest was erased, even if a line end was written there, which ends it in the model.
        let is_line_end = part.ends_with('\n') || *part == "\x1bE";
        if is_line_end && is_erased_after(&other, above + other.cursor().row) {
            continue;
        }
        screen.push(part.as_bytes(), |line| committed.push(visible(&String::from_utf8_lossy(line.text))));
        // The main screen of the model returns the carriage at each line end.
        let is_main = other.active_screen_kind() == avt::ScreenKind::Primary;
        let part = if is_main { part.replace('\n', "\r\n") } else { (*part).to_owned() };
        // It also keeps a screen that is erased as a whole, as some terminals do. A program that erases it for each drawing
        // would leave all of them.
        let part = part.replace("\x1b[2J", "\x1b[1J\x1b[J");
        for character in part.chars() {
            other.feed(character.encode_utf8(&mut [0; 4]) as &str);
            seen.extend(lines_of(other.primary_screen().all_lines()));
        }
    }
    let expected = lines_of(other.primary_screen().all_lines());
    screen.finish(|line| committed.push(visible(&String::from_utf8_lossy(line.text))));
    let mut rest: Vec<&str> = committed.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
    for line in &rest {
        // A part of a line may have been erased before the line ended.
        let was_shown = seen.contains(*line) || seen.iter().any(|shown| shown.contains(*line));
        prop_assert!(was_shown, "{:?} was never shown: {:?}", line, committed);
    }
    // Lines that were committed as they are come first, so that none of them stands for a part of another line.
    let mut parts = Vec::new();
    for line in &expected {
        match rest.iter().position(|committed| committed == line) {
            Some(at) => drop(rest.remove(at)),
            None => parts.push(line.as_str()),
        }
    }
    // Scrolling in a region may have split a line that was committed, and moved the parts away from each other.
    let rows_of = |line: &str| line.width().div_ceil(columns);
    let lines: Vec<&str> = rest.iter().flat_map(|line| std::iter::repeat_n(*line, rows_of(line))).collect();
    prop_assert!(has_a_line_for_each(&parts, &lines), "{:?} are missing in {:?}", parts, committed);
    Ok(())
}

/// Returns whether a line continues after `row`, but is erased there.
fn is_erased_after(other: &avt::Terminal, row: usize) -> bool {
    let mut lines = other.primary_screen().all_lines().skip(row);
    lines.next().is_some_and(avt::Line::is_wrapped) && lines.next().is_some_and(|line| line.text().trim().is_empty())
}

/// Returns whether each of these parts was committed in a line of its own, of which other parts may have been erased or
/// deleted later. A part may be in several lines, so that one that was given a line leaves it for another if that helps.
fn has_a_line_for_each(parts: &[&str], lines: &[&str]) -> bool {
    fn give_line(
        part: usize,
        parts: &[&str],
        lines: &[&str],
        owners: &mut [Option<usize>],
        tried: &mut [bool],
    ) -> bool {
        (0..lines.len()).any(|line| {
            if !lines[line].contains(parts[part]) || std::mem::replace(&mut tried[line], true) {
                return false;
            }
            let is_free = owners[line].is_none_or(|owner| give_line(owner, parts, lines, owners, tried));
            if is_free {
                owners[line] = Some(part);
            }
            is_free
        })
    }
    let mut owners = vec![None; lines.len()];
    (0..parts.len()).all(|part| give_line(part, parts, lines, &mut owners, &mut vec![false; lines.len()]))
}

/// A line without colours and without blanks at its end.
fn visible(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once('m').unwrap().1);
    (first + &rest.collect::<String>()).trim_end().to_owned()
}
