//! What the bytes of a file are: names, text encodings, compressed files, holes and events of several lines.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::config::ReadFrom;
use crate::stream::ReadRoom;

use super::harness::{TailerHarness, joined, long, numbers};

#[test]
fn compressed_files_are_never_read_as_text() {
    let mut harness = TailerHarness::new(&["log*"], ReadFrom::Beginning);
    harness.directory.write("log", "one\n");
    fs::write(harness.directory.path("log.1.gz"), b"\x1f\x8b\x08\n\n").unwrap();
    fs::write(harness.directory.path("log.2"), b"\xfd7zXZ\0\n\n").unwrap();
    fs::write(harness.directory.path("log.3"), b"").unwrap();
    assert_eq!(harness.run_until_idle(), ["one"]);
    fs::write(harness.directory.path("log.3"), b"\x28\xb5\x2f\xfd\n\n").unwrap();
    assert_eq!(harness.run_until_idle(), [""; 0]);
}

#[test]
fn a_name_that_is_not_utf_8_is_followed_and_encoded() {
    let mut harness = TailerHarness::new(&["*.log"], ReadFrom::Beginning);
    let path = harness.directory.0.path().join(OsStr::from_bytes(b"\xff%.log"));
    fs::write(&path, "one\n").unwrap();
    assert_eq!(harness.run_until_idle(), ["one"]);
    assert!(harness.checkpoints.keys().all(|key| key.ends_with("/%FF%25.log")), "{:?}", harness.checkpoints);
    harness.restart();
    assert_eq!(harness.run_until_idle(), [""; 0]);
}

/// Text in UTF-16, with a byte order mark.
fn utf16(text: &str, big: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

#[test]
fn a_byte_order_mark_decides_over_appends_restarts_and_rotations() {
    use std::io::Write;
    for (encoding, big, from) in [
        ("utf-8", false, ReadFrom::Beginning),
        ("utf-8", true, ReadFrom::End),
        ("utf-16le", true, ReadFrom::Beginning),
        ("utf-16be", false, ReadFrom::End),
        ("utf-16", true, ReadFrom::End),
        ("latin1", false, ReadFrom::Beginning),
    ] {
        let mut harness =
            TailerHarness::new(&["log"], from).with_spec(|spec| spec.encoding = encoding.parse().unwrap());
        let append = |harness: &TailerHarness, text: &str| {
            let path = harness.directory.path("log");
            let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
            file.write_all(&utf16(text, big)).unwrap();
        };
        append(&harness, "\u{FEFF}Ċä\r\ntw");
        let mut all = harness.run_until_idle();
        append(&harness, "o\r\n");
        all.extend(harness.after(100));
        harness.restart();
        append(&harness, "three\r\n");
        all.extend(harness.after(100));
        harness.rename("log", "log.1");
        append(&harness, "\u{FEFF}four\r\n");
        all.extend([harness.after(6000), harness.after(6000)].concat());
        // A file without a mark is what the configuration says.
        harness.rename("log", "log.2");
        if encoding == "utf-8" {
            harness.directory.write("log", "five\n");
            all.extend([harness.after(6000), harness.after(6000)].concat());
        } else {
            all.push("five".to_owned());
        }
        assert_eq!(all, ["Ċä", "two", "three", "four", "five"], "{encoding}, big: {big}, {from:?}");
        assert_eq!(harness.loss_texts, [""; 0], "{encoding}");
    }
}

#[test]
fn an_event_of_several_lines_continues_in_the_next_file() {
    for (name, restart) in [("log", 0), ("log", 1), ("log", 2), ("lo[g]", 0), ("lo[g]", 1), ("lo[g]", 2)] {
        let mut harness =
            TailerHarness::new(&[name], ReadFrom::Beginning).with_spec(|spec| spec.multiline = Some(joined()));
        harness.directory.write("log", "1 zero\n2 boom\n at a\n");
        let mut all = harness.run_until_idle();
        harness.rename("log", "log.1");
        harness.create_later("log", " at b\n");
        for step in 0..8 {
            all.extend(harness.after(900));
            if step == 3 && restart == 1 {
                harness.restart();
            }
        }
        if restart == 2 {
            harness.restart();
        }
        harness.directory.append("log", " at c\n3 next\n");
        for _ in 0..10 {
            all.extend(harness.after(800));
        }
        assert!(all.len() >= 3, "{all:?}");
        let events = all.join("|");
        // Without a further line within the timeout, the event ends; its lines in both files are one event in any case.
        assert!(events.starts_with("1 zero|2 boom\n at a\n at b"), "{name}, restart {restart}: {events}");
        let lines: Vec<_> = events.split(['|', '\n']).collect();
        assert_eq!(lines, ["1 zero", "2 boom", " at a", " at b", " at c", "3 next"], "{name}, restart {restart}");
        assert_eq!(harness.loss_texts, [""; 0]);
    }
}

#[test]
fn a_file_that_is_filled_in_later_is_read_line_by_line() {
    use std::os::unix::fs::FileExt;
    for restart in [false, true] {
        let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
        let file = fs::File::create(harness.directory.path("log")).unwrap();
        file.set_len(1 << 20).unwrap();
        let (mut at, mut all) = (0, harness.run_until_idle());
        for n in 0..50u32 {
            let line = long(n);
            let (first, second) = line.split_at(n as usize % line.len());
            file.write_all_at(first.as_bytes(), at).unwrap();
            all.extend(harness.after(1000));
            file.write_all_at(second.as_bytes(), at + first.len() as u64).unwrap();
            all.extend(harness.after(1000));
            at += line.len() as u64;
            if restart && n == 20 {
                harness.restart();
            }
        }
        file.set_len(at).unwrap();
        harness.rename("log", "log.1");
        harness.directory.write("log", &long(50));
        all.extend([harness.after(6000), harness.after(6000)].concat());
        assert!(numbers(&all).into_iter().eq(0..=50), "restart: {restart}: {all:?}");
        assert_eq!(harness.loss_texts, [""; 0], "restart: {restart}");
    }
}

#[test]
fn small_reads_find_the_same_lines_and_holes() {
    let nuls = |count| "\0".repeat(count);
    let text = format!("one\n{}two\nin{}side\n{}\nlong {}\nlast\n", nuls(300), nuls(20), nuls(5), "x".repeat(500));
    let read = |room| {
        let mut harness = TailerHarness::new(&["log"], ReadFrom::Beginning);
        harness.directory.write("log", &text);
        harness.room = room;
        let mut all = harness.run_until_idle();
        for _ in 0..text.len() {
            all.extend(harness.run_until_idle());
        }
        (all, harness.loss_texts.len())
    };
    let expected = read(ReadRoom::Unlimited);
    assert_eq!((expected.0.len(), expected.1), (6, 1), "{expected:?}");
    for size in [1, 3, 64, 100] {
        assert_eq!(read(ReadRoom::Bytes(size)), expected, "{size}");
    }
}
