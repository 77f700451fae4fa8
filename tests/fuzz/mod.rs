//! What the fuzzer looked for and found, in `corpus/`: each file goes through the check of its target.

#[expect(unreachable_pub, reason = "the targets of the fuzzer are other crates")]
mod checks;

use std::fs;
use std::panic;

use crate::harness::sources;

/// Gives `check` each file of a target.
fn corpus(target: &str, check: fn(&[u8])) {
    let folder = sources(&format!("tests/fuzz/corpus/{target}"));
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        if let Err(panic) = panic::catch_unwind(|| check(&data)) {
            eprintln!("with {}:", path.display());
            panic::resume_unwind(panic);
        }
        count += 1;
    }
    assert!(count >= 5, "{} has only {count} files", folder.display());
}

#[test]
fn lines_are_lines_wherever_reads_end() {
    corpus("lines", checks::lines);
}

#[test]
fn envelopes_hold_what_was_put_into_them() {
    corpus("envelopes", checks::envelopes);
}

#[test]
fn any_file_is_a_configuration_or_has_mistakes_with_places() {
    corpus("config", checks::config);
}

#[test]
fn no_header_makes_a_client_local_or_another() {
    corpus("forwarded", checks::forwarded);
}

#[test]
fn ids_and_names_have_one_spelling() {
    corpus("ids", checks::ids);
}

#[test]
fn any_query_is_understood_or_refused_in_words() {
    corpus("query", checks::query);
}

#[test]
fn any_message_holds_calls_or_is_refused_with_its_id() {
    corpus("rpc", checks::rpc);
}

#[test]
fn a_disk_gives_back_what_was_written_or_nothing() {
    corpus("history", checks::history);
}

#[test]
fn no_line_ends_or_forges_a_frame() {
    corpus("sse", checks::sse);
}

#[test]
fn progress_makes_sense_whatever_is_drawn() {
    corpus("progress", checks::progress);
}

#[test]
fn secrets_are_taken_out_wherever_reads_end() {
    corpus("redact", checks::redact);
}

#[test]
fn any_line_has_a_level_and_fields_or_none() {
    corpus("structured", checks::structured);
}
