//! Rows that scrolling, insertion and deletion of lines move.

use super::tests::{finish, leave, owned, play};

#[test]
fn status_rows_do_not_hold_lines_back() {
    // As apt does it: the last row is kept out of the region that scrolls.
    let line = |number| format!("line {number}\n\x1b7\x1b[10;1f\x1b[42mProgress: [{number:3}%]\x1b[49m\x1b[0K\x1b8");
    let text = "\x1b7\x1b[1;9r\x1b8\x1b[1A".to_owned() + &(0..30).map(line).collect::<String>();
    let seen = play(&[text.as_bytes()], (80, 10), leave);
    assert_eq!(seen.lines, (0..30).map(|number| format!("line {number}")).collect::<Vec<_>>());
    assert_eq!(seen.live.last().unwrap(), "\x1b[42mProgress: [ 29%]\x1b[0m");
}

#[test]
fn rows_that_leave_the_screen_are_committed() {
    let rows = (0..12).map(|number| format!("row {number}\x1b[K\n"));
    let text = "a\nb\nc\n\x1b[3A".to_owned() + &rows.collect::<String>();
    let seen = play(&[text.as_bytes()], (80, 10), leave);
    assert_eq!(seen.lines, owned(&["a", "b", "c", "row 0", "row 1", "row 2"]));
    assert_eq!(seen.live.len(), 9);
}

#[test]
fn text_after_what_was_pushed_off_the_screen_is_committed() {
    let long = "a text that wraps";
    for drawing in ["1\n2\n3\n4\n\x1b[1A\x1b[2Kbar\n", "1\n2\n3\n10%\r20%\n", "1\n2\na bar that wraps\r100%\n"] {
        for push in [
            "\x1b[2T",
            "\x1b[T\x1b[T",
            "\x1b[9T",
            "\x1b[H\x1bM\x1bM",
            "\x1b[H\x1b[2L",
            "\x1b[4H\x1b[2L",
            "\x1b[3H\x1b[L\x1b[4H\x1b[9L",
            "\x1b[3;5r\x1b[2T",
            "\x1b[3;5r\x1b[3H\x1bM\x1bM",
            "\x1b[2;5r\x1b[2H\x1b[2L\x1b[r",
        ] {
            for text in ["text", long] {
                let program = format!("{drawing}{push}\x1b[5H\x1b[2K{text}\nnext\n");
                let lines = play(&[program.as_bytes()], (10, 5), finish).lines;
                assert!(lines.ends_with(&owned(&[text, "next"])), "{program:?}: {lines:?}");
            }
        }
    }
}

#[test]
fn a_line_that_scrolling_splits_is_not_committed_again() {
    // What splits the rows, and the parts that are committed if the line had not ended.
    for (split, unfinished) in [
        ("\x1b[3;6r\x1b[S", ["abcd", "ijkl..."]),
        ("\x1b[3;6r\x1b[6H\x1bD", ["abcd", "ijkl..."]),
        ("\x1b[3;6r\x1b[T", ["abcd", "efghijkl..."]),
        ("\x1b[3;6r\x1b[3H\x1bM", ["abcd", "efghijkl..."]),
        ("\x1b[3H\x1b[L", ["abcd", "efghijkl..."]),
        ("\x1b[3H\x1b[3L", ["abcd", "efgh"]),
        ("\x1b[4H\x1b[L", ["abcdefgh", "ijkl..."]),
        ("\x1b[3H\x1b[M", ["abcd", "ijkl..."]),
        ("\x1b[2;3r\x1b[S", ["abcdefgh", "ijkl..."]),
        ("\x1b[2;3r\x1b[3H\x1bD", ["abcdefgh", "ijkl..."]),
        ("\x1b[2;3r\x1b[T", ["abcd", "ijkl..."]),
        ("\x1b[2;3r\x1b[2H\x1bM", ["abcd", "ijkl..."]),
        ("\x1b[2;3r\x1b[2H\x1b[L", ["abcd", "ijkl..."]),
        ("\x1b[1;3r\x1b[T", ["abcd", "ijkl..."]),
        ("\x1b[1;3r\x1b[H\x1bM", ["abcd", "ijkl..."]),
    ] {
        let lines = |text: String| play(&[text.as_bytes()], (4, 6), finish).lines;
        assert_eq!(lines(format!("0\nabcdefghijkl\n{split}\x1b[r\x1b[6H")), ["0", "abcdefghijkl"], "{split:?}");
        // The parts are in a block that is redrawn then.
        let redrawn = format!("0\nabcdefghijkl\n{split}\x1b[r\x1b[H1\n\x1b[6H");
        assert_eq!(lines(redrawn), ["0", "abcdefghijkl", "1"], "{split:?}");
        let found = lines(format!("0\nabcdefghijkl{split}\x1b[r\x1b[6H"));
        assert_eq!(found[1..], unfinished, "{split:?}");
    }
    // The first part has left the screen.
    for split in
        ["\x1b[T", "\x1b[H\x1bM", "\x1b[H\x1b[L", "\x1b[H\x1b[M", "\x1b[2;3r\x1b[S", "\x1b[2;3r\x1b[T", "\x1b[2H\x1b[M"]
    {
        let text = format!("0\nabcdefghijkl\n{split}\x1b[r\x1b[3H");
        assert_eq!(play(&[text.as_bytes()], (4, 3), finish).lines, ["0", "abcdefghijkl"], "{split:?}");
    }
}

#[test]
fn the_rest_of_a_committed_line_that_an_erasure_cuts_is_not_committed_again() {
    // The erasure, what is left of the line, and the lines if it had not ended.
    for (erasure, left, unfinished) in [
        ("\x1b[H\x1b[3G\x1b[K", "ab", &["ab", "efghijkl..."][..]),
        ("\x1b[H\x1b[2K", "", &["efghijkl..."]),
        ("\x1b[H\x1b[2P", "cd", &["cd", "efghijkl..."]),
        ("\x1b[2;3H\x1b[K", "abcdef", &["abcdef", "ijkl..."]),
        ("\x1b[2;3H\x1b[4X", "abcdef", &["abcdef", "ijkl..."]),
        ("\x1b[2;3H\x1b[P", "abcdefh", &["abcdefh", "ijkl..."]),
        ("\x1b[2;4H\x1b[2K", "abcd", &["abcd", "ijkl..."]),
        ("\x1b[2;3H\x1b[1J", "   hijkl", &["   hijkl..."]),
        ("\x1b[2;3H\x1b[J", "abcdef", &["abcdef"]),
        ("\x1b[3;3H\x1b[K", "abcdefghij", &["abcdefghij..."]),
        ("\x1b[3;3H\x1b[1K", "abcdefgh   l", &["abcdefgh   l..."]),
    ] {
        let lines = |text: String| play(&[text.as_bytes()], (4, 6), finish).lines;
        let expected: Vec<&str> = ["abcdefghijkl", left].into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines(format!("abcdefghijkl\n{erasure}\x1b[6H")), expected, "{erasure:?}");
        // The rest is committed if it changes later.
        let redrawn = lines(format!("abcdefghijkl\n{erasure}\x1b[3HI\x1b[6H"));
        assert_eq!(redrawn.concat().matches('I').count(), 1, "{erasure:?}: {redrawn:?}");
        let found = lines(format!("abcdefghijkl{erasure}\x1b[6H"));
        assert_eq!(found, unfinished, "{erasure:?}");
    }
}

#[test]
fn a_line_end_behind_which_a_wrapped_line_is_erased_ends_it() {
    for erasure in ["\x1b[2K", "\x1b[1K", "\r\x1b[K", "\r\x1b[J", "\r\x1b[4P", "\r\x1b[4X", "\r    "] {
        for end in ["\x1b[A\n", "\x1b[A\x1bE", "\x1b[H\r\n"] {
            let text = format!("abcdefgh{erasure}{end}x\n");
            assert_eq!(play(&[text.as_bytes()], (4, 5), finish).lines, ["abcd", "x"], "{text:?}");
        }
    }
    // What is left of it is still part of the line.
    assert_eq!(play(&[b"abcdefgh\x1b[D\x1b[K\x1b[A\nx\n"], (4, 5), finish).lines, ["abcdxf"]);
}

#[test]
fn a_line_that_is_written_below_the_region_does_not_continue_in_other_rows() {
    for (end, expected) in
        [("", &["efgh..."][..]), ("\x1b[r\x1b[5H\nx\n", &["efgh", "x"]), ("\x1b[r\x1b[S\x1b[5Hx\n", &["efgh", "x"])]
    {
        let text = format!("\x1b[2;4r\x1b[5Habcdefgh{end}");
        assert_eq!(play(&[text.as_bytes()], (4, 5), finish).lines, expected, "{text:?}");
    }
}

/// Programs that the comparison with another emulator leaves out, since that does something else than xterm there, or
/// keeps rows for which a log has no use; and the lines of the model.
#[test]
fn what_is_not_compared_is_as_in_xterm() {
    let table: [(&str, &[&str]); 13] = [
        // A wide character that does not fit leaves a blank column, which is no part of the line.
        ("abc日x\n", &["abc日x"]),
        ("\x1b[?7labc日\n", &["ab日"]),
        // The last character is repeated, even if it was written over.
        ("\x1b[?7labcde\x1b[3b\n", &["abce"]),
        // What is deleted at the top is no line.
        ("a\nb\nc\x1b[1;1H\x1b[2Mx\n", &["a", "b", "x"]),
        ("wip\r\x1b[2Mdone\n", &["done"]),
        // Lines are inserted and deleted within the region only.
        ("\x1b[2;3r\x1b[H1\x1b[L\x1b[M\n", &["1"]),
        ("\x1b[2;3r\x1b[5H5\x1b[L\x1b[M\x1b[r\x1b[6H", &["5..."]),
        // A vertical movement from the end of a full row does not wrap.
        ("abcd\x1bDx\n", &["abcd", "   x"]),
        ("a\nabcd\x1bMx\n", &["a", "a  x", "abcd..."]),
        // Rows that are inserted at the top do not continue a line that has left the screen in part.
        ("abcdefghijklmnopqrstuvwxyz12\x1b[Hx\x1b[T\x1b[Hy\n", &["abcd", "y", "xfghijklmnopqrstuvwx..."]),
        // A line end behind which a wrapped line was erased ends it.
        ("abcdefgh\x1b[2K\x1b[A\nx\n", &["abcd", "x"]),
        // A screen that is erased as a whole leaves no lines: a program may do it for each drawing.
        ("1\x1b[2J\x1b[H2\x1b[2J\x1b[H3\n", &["3"]),
        ("a\nb\x1b[2J\x1b[Hc\n", &["a", "c"]),
    ];
    for (program, expected) in table {
        let found = play(&[program.as_bytes()], (4, 6), finish).lines;
        assert_eq!(found, expected, "{program:?}");
    }
}
