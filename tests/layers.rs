//! The house: who may import whom. Reads the sources, and fails on any other `crate::` path.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer, and the layers it may use.
const MAY_USE: [(&str, &[&str]); 28] = [
    ("event", &[]),
    ("systemd", &[]),
    ("logging", &["event"]),
    ("terminal", &["event"]),
    ("reload", &[]),
    ("directory", &[]),
    ("descriptors", &[]),
    ("pid_file", &["directory"]),
    ("detach", &["descriptors", "directory", "pid_file"]),
    ("doctor", &["config", "source"]),
    ("line", &["event"]),
    ("progress", &["event"]),
    ("wire", &["event"]),
    ("config", &["event"]),
    ("control", &["event"]),
    ("stream", &["event", "wire"]),
    ("access", &["event", "config", "directory"]),
    ("source", &["event", "line", "progress", "stream", "config", "control", "descriptors"]),
    ("http", &["event", "wire", "stream", "config", "control", "access", "logging"]),
    ("sources", &["event", "config"]),
    (
        "daemon",
        &[
            "descriptors",
            "event",
            "wire",
            "line",
            "stream",
            "config",
            "control",
            "access",
            "source",
            "http",
            "systemd",
            "logging",
            "terminal",
        ],
    ),
    ("serve", &["event", "stream", "config", "source", "http", "systemd", "daemon", "sources", "reload"]),
    ("wrap", &["event", "config", "source", "http", "daemon"]),
    ("history", &["event", "wire", "stream", "terminal"]),
    ("client", &["event", "wire", "source", "terminal"]),
    (
        "cli",
        &[
            "history", "config", "access", "control", "client", "daemon", "event", "logging", "terminal", "reload",
            "serve", "wrap", "detach", "doctor",
        ],
    ),
    ("lib", &[]),
    ("main", &[]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn rust_files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 20, "the sources are not where this test looks");
    let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The layers that a source names in `crate::` paths.
fn used(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut layers = Vec::new();
    for line in code {
        for rest in line.split("crate::").skip(1) {
            if rest.starts_with('{') {
                layers.push(format!("a list, which this test cannot read: {line}"));
            }
            layers.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    layers
}

#[test]
fn each_layer_uses_only_what_the_house_allows() {
    let may_use: BTreeMap<_, _> = MAY_USE.into_iter().collect();
    let mut wrong = Vec::new();
    for (file, text) in rust_files() {
        // Only tests have it: it reads streams back as their readers do.
        if file == "source/testing.rs" {
            continue;
        }
        let layer = file.split(['/', '.']).next().unwrap().to_owned();
        let allowed =
            may_use.get(layer.as_str()).unwrap_or_else(|| panic!("the layer of src/{file} is not in the table"));
        for other in used(&text) {
            if other != layer && !allowed.contains(&other.as_str()) {
                wrong.push(format!("src/{file} uses {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn libraries_stay_in_their_rooms() {
    let rooms: [(&str, &[&str]); 5] = [
        ("warp::", &["http/"]),
        ("hyper::", &["http/", "client/"]),
        ("serde_yaml::", &["config/"]),
        ("tokio::process", &["source/process/"]),
        ("notify::", &["source/file/", "systemd.rs"]),
    ];
    let mut wrong = Vec::new();
    for (file, text) in rust_files() {
        for (library, allowed) in rooms {
            let named = text.lines().any(|line| {
                let code = line.trim_start();
                !code.starts_with("//")
                    && code.match_indices(library).any(|(at, _)| {
                        !code
                            .get(..at)
                            .is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
                    })
            });
            if named && !allowed.iter().any(|room| file.starts_with(room)) {
                wrong.push(format!("src/{file} uses {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn followed_files_are_opened_in_one_place() {
    // What a stream follows is opened under the rules of the one file, and what it protects is looked through by the other.
    let allowed = ["source/file/open_file.rs", "source/file/protected.rs"];
    let tests = ["source/file/model.rs", "source/file/cases.rs"];
    let opens =
        ["File::open", "OpenOptions", "fs::read", "fs::open", "openat", "fs::copy", "Dir::read_from", "open_receiver"];
    let mut wrong = Vec::new();
    for (file, text) in rust_files() {
        if !file.starts_with("source/file/") || allowed.contains(&file.as_str()) || tests.contains(&file.as_str()) {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        let found = opens.iter().filter(|open| code.contains(**open));
        wrong.extend(found.map(|open| format!("src/{file} has {open}")));
    }
    assert!(wrong.is_empty(), "open it by Opener: {wrong:#?}");
}

#[test]
fn files_are_short_enough_to_read() {
    // Only tests have these.
    let tests = ["source/file/model.rs", "source/file/cases.rs", "access/source_tests.rs"];
    let long: Vec<_> = rust_files()
        .into_iter()
        .filter(|(file, _)| !tests.contains(&file.as_str()))
        .map(|(file, text)| (file, text.split("#[cfg(test)]\nmod tests").next().unwrap_or("").lines().count()))
        .filter(|(_, lines)| *lines > 500)
        .collect();
    assert!(long.is_empty(), "a file of more than 500 lines hides a second type: {long:?}");
}

/// Where text may reach standard output or standard error: what prints; `rtlogd run`, which passes on what its command
/// writes; a child, whose own they are; what names them; and a test's model. The logger prints by its own crate.
const PRINTS: [&str; 5] = ["event/mod.rs", "source/file/model.rs", "source/process/child.rs", "terminal.rs", "wrap.rs"];

#[test]
fn nothing_is_printed_but_what_cannot_steer_a_terminal() {
    let mut printing = Vec::new();
    for (name, text) in rust_files() {
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let joined = code.join("\n");
        // Tests and models print what they like.
        let joined = joined.split("#[cfg(test)]").next().unwrap();
        let asks_only = joined.replace("stdout().is_terminal()", "").replace("stderr().is_terminal()", "");
        let asks_only = asks_only.replace("Origin::stdout()", "").replace("Origin::stderr()", "");
        let calls = ["stdout()", "stderr()", "println!", "print!(", "eprint", "dbg!("];
        if calls.iter().any(|call| asks_only.contains(call)) {
            printing.push(name);
        }
    }
    printing.sort();
    assert_eq!(printing, PRINTS, "print by `terminal`, which escapes what could steer a terminal");
}
