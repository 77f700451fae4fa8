//! The architecture, checked: which layer may import which, no cycle between files, and which library stays in which layer.

#![expect(clippy::string_slice, reason = "the offsets come from the same text")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer from the bottom up, and the layers that it may import. `ALL` stands for all layers above it in this table.
const LAYERS: [(&str, &[&str]); 17] = [
    ("event", &[]),
    ("structured", &["event"]),
    ("line", &["event"]),
    ("progress", &["event"]),
    ("wire", &["event", "structured"]),
    ("config", &["event"]),
    ("segment", &["event", "structured"]),
    ("history", &["event", "segment"]),
    ("stream", &["event", "structured", "wire", "segment", "history"]),
    ("control", &["event"]),
    ("access", &["event", "config"]),
    ("source", &["event", "line", "progress", "segment", "history", "stream", "config", "control"]),
    ("listen", &["config", "access"]),
    ("http", &["event", "wire", "segment", "stream", "config", "control", "access", "listen"]),
    ("client", &["event", "wire", "config"]),
    ("daemon", ALL),
    ("cli", ALL),
];

const ALL: &[&str] = &["all layers above"];

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

/// The source files by the path of their module: `["stream", "ring"]` is `stream/ring.rs`.
fn modules() -> BTreeMap<Vec<String>, (String, String)> {
    let module = |file: &str| {
        let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').filter(|part| !matches!(*part, "lib" | "main")).map(str::to_owned).collect()
    };
    rust_files()
        .into_iter()
        .filter(|(file, _)| file != "main.rs")
        .map(|(file, text)| (module(&file), (file, text)))
        .collect()
}

/// The text without its tests at the end.
fn without_tests(text: &str) -> &str {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.split("#[cfg(test)]\npub(super) mod tests {").next().unwrap_or_default()
}

/// The text without comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// All paths of a `use` tree, such as `crate::stream::{Log, view::{self, View}}`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((begin, list)) = tree.split_once('{') else {
        paths.push(format!("{prefix}{}", tree.split(" as ").next().unwrap_or_default()));
        return;
    };
    let (prefix, list) = (format!("{prefix}{begin}"), list.trim_end().strip_suffix('}').unwrap_or(list));
    let (mut depth, mut from) = (0, 0);
    for (at, letter) in list.char_indices().chain([(list.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !list[from..at].trim().is_empty() {
                    expand(&prefix, &list[from..at], paths);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

/// All paths that a file names: those of its `use` items, and those that begin with `crate`, `super` or `self` anywhere.
fn paths(text: &str) -> Vec<String> {
    let code = code(text);
    let (mut found, mut rest) = (Vec::new(), String::new());
    for (number, part) in code.split("use ").enumerate() {
        match part.split_once(';').filter(|_| number > 0) {
            Some((tree, after)) if !tree.contains(['(', '=']) => {
                expand("", tree, &mut found);
                rest.push_str(after);
            }
            _ => rest.push_str(part),
        }
    }
    for (at, _) in
        rest.match_indices("crate::").chain(rest.match_indices("super::")).chain(rest.match_indices("self::"))
    {
        let inside = rest[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':');
        let end = rest[at..].find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len() - at);
        if !inside {
            found.push(rest[at..at + end].trim_end_matches(':').to_owned());
        }
    }
    found
}

/// The files that a file imports from, each once.
fn imports(module: &[String], text: &str, modules: &BTreeMap<Vec<String>, (String, String)>) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for path in paths(text) {
        let mut parts = path.split("::").map(str::trim).map(str::to_owned).peekable();
        let mut target = match parts.peek().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("super" | "self") => module.to_vec(),
            Some(first) if modules.contains_key(&[module, &[first.to_owned()]].concat()) => module.to_vec(),
            _ => continue,
        };
        while let Some(part) = parts.next_if(|part| matches!(part.as_str(), "crate" | "super" | "self")) {
            if part == "super" {
                target.pop();
            }
        }
        for part in parts {
            target.push(part);
            if !modules.contains_key(&target) {
                target.pop();
                break;
            }
        }
        if let Some((file, _)) = modules.get(&target).filter(|_| target != module) {
            files.insert(file.clone());
        }
    }
    files
}

#[test]
fn paths_are_found_however_they_are_written() {
    let text = "use super::a::{self, b::{C, D as E}};\npub(crate) use crate::f;\nfn x() { super::super::g::h(); crate::i::J {} }\n\
                // use crate::comment;\n#[cfg(test)]\nmod tests {\nuse crate::test;\n}";
    let expected =
        ["super::a::self", "super::a::b::C", "super::a::b::D", "crate::f", "crate::i::J", "super::super::g::h"];
    assert_eq!(paths(without_tests(text)), expected);
    assert_eq!(paths(text), [&expected[..4], &["crate::test"], &expected[4..]].concat(), "tests import as well");
}

#[test]
fn each_layer_imports_only_what_the_table_allows() {
    let modules = modules();
    let mut wrong = Vec::new();
    for (module, (file, text)) in &modules {
        // `source/testing.rs` is compiled for tests only: it reads streams back as their readers do.
        let Some(layer) = module.first().filter(|_| file != "source/testing.rs") else { continue };
        let number = LAYERS.iter().position(|(name, _)| name == layer);
        let number = number.unwrap_or_else(|| panic!("the layer of src/{file} is not in the table"));
        // The tests of a layer use only the layers below as well: `tests/check --mutants` compiles them without the others.
        for other in imports(module, text, &modules) {
            let other_layer = other.split(['/', '.']).next().unwrap_or_default();
            let allowed = LAYERS[number].1;
            let below = allowed == ALL && LAYERS[..number].iter().any(|(name, _)| *name == other_layer);
            if other_layer != layer && other != "lib.rs" && !below && !allowed.contains(&other_layer) {
                wrong.push(format!("src/{file} imports {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    let modules = modules();
    // A folder's `mod.rs` re-exports and constructs; it is no part of a circle.
    let files: BTreeMap<_, _> = modules
        .iter()
        .filter(|(_, (file, _))| !file.ends_with("mod.rs") && file != "lib.rs")
        .map(|(module, (file, text))| (file.clone(), imports(module, without_tests(text), &modules)))
        .collect();
    let mut left = files.clone();
    // A file without an import that is left is in no cycle; nor, then, is a file that imports only such files.
    loop {
        let free: Vec<_> = left
            .iter()
            .filter(|(_, imports)| imports.iter().all(|other| !left.contains_key(other)))
            .map(|(file, _)| file.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|file, _| !free.contains(file));
    }
    // A file that no file that is left imports is in no cycle either.
    loop {
        let needed: BTreeSet<_> = left.values().flatten().cloned().collect();
        let before = left.len();
        left.retain(|file, _| needed.contains(file));
        if left.len() == before {
            break;
        }
    }
    let circle: BTreeMap<_, Vec<_>> = left
        .iter()
        .map(|(file, imports)| (file, imports.iter().filter(|other| left.contains_key(*other)).collect()))
        .collect();
    assert!(circle.is_empty(), "these files import each other: {circle:#?}");
}

/// The first word after one of `keywords` at the begin of a line, whatever visibility or type parameters stand before it.
fn declared<'a>(line: &'a str, keywords: &[&str]) -> Option<&'a str> {
    let line = line.trim_start();
    let line = match line
        .strip_prefix("pub")
        .map(|rest| rest.strip_prefix('(').map_or(rest, |rest| rest.split_once(')').map_or("", |at| at.1)))
    {
        Some(rest) if rest.starts_with(' ') => rest.trim_start(),
        _ => line,
    };
    let rest = keywords.iter().find_map(|keyword| line.strip_prefix(keyword))?;
    let rest = if rest.starts_with('<') { rest.split_once("> ").map_or("", |at| at.1) } else { rest.trim_start() };
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    name.starts_with(|c: char| c.is_uppercase()).then_some(name)
}

/// Whether these are a part of the configuration as it is written and the checked one. They have one name, and the code always writes the
/// folder of the raw one: `raw::Limits`.
fn are_raw_and_checked<'a>(files: impl Iterator<Item = &'a String> + Clone) -> bool {
    files.clone().count() == 2
        && files.clone().all(|file| file.starts_with("config/"))
        && files.filter(|file| file.starts_with("config/raw/")).count() == 1
}

#[test]
fn a_type_has_one_definition() {
    let mut defined: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in rust_files() {
        // A type at the left margin, or one of a function or of tests. Associated types are not definitions of their own.
        for line in
            text.lines().filter(|line| line.starts_with(|c: char| c != ' ') || !line.trim_start().starts_with("type "))
        {
            if let Some(name) = declared(line, &["struct ", "enum ", "trait ", "union ", "type "]) {
                defined.entry(name.to_owned()).or_default().push(file.clone());
            }
        }
    }
    assert!(defined.len() > 500, "only {} types were found", defined.len());
    defined.retain(|_, files| files.len() > 1 && !are_raw_and_checked(files.iter()));
    assert!(defined.is_empty(), "one word, one meaning: {defined:#?}");
}

#[test]
fn the_methods_of_a_type_are_in_one_file() {
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in rust_files() {
        for line in text.lines().filter(|line| line.trim_start().starts_with("impl") && !line.contains(" for ")) {
            if let Some(name) = declared(line, &["impl"]) {
                methods.entry(name.to_owned()).or_default().insert(file.clone());
            }
        }
    }
    assert!(methods.len() > 200, "only {} types with methods were found", methods.len());
    methods.retain(|_, files| files.len() > 1);
    // Two types of one name have methods of their own.
    methods.retain(|_, files| !are_raw_and_checked(files.iter()));
    assert!(methods.is_empty(), "the methods of these types stand in several files: {methods:#?}");
}

#[test]
fn definitions_are_found_however_they_are_written() {
    let table = [
        ("pub(crate) struct Log {", Some("Log")),
        ("    enum Step { A }", Some("Step")),
        ("pub trait Sink<T>: Send {", Some("Sink")),
        ("pub(in crate::source) struct Run;", Some("Run")),
        ("fn structure() {}", None),
        ("// struct Old", None),
    ];
    for (line, name) in table {
        assert_eq!(declared(line, &["struct ", "enum ", "trait "]), name, "{line}");
    }
    assert_eq!(declared("impl<'a, T: Copy> View<'a> {", &["impl"]), Some("View"));
    assert_eq!(declared("impl Ring {", &["impl"]), Some("Ring"));
}

#[test]
fn libraries_stay_in_their_layers() {
    let layers: [(&str, &[&str]); 5] = [
        ("warp::", &["http/"]),
        ("hyper::", &["http/", "listen/", "client/"]),
        ("serde_yaml::", &["config/"]),
        ("tokio::process", &["source/process/"]),
        ("notify::", &["source/file/", "daemon/systemd.rs"]),
    ];
    let mut wrong = Vec::new();
    for (file, text) in rust_files() {
        for (library, allowed) in layers {
            let named = text.lines().any(|line| {
                let code = line.trim_start();
                !code.starts_with("//")
                    && code.match_indices(library).any(|(at, _)| {
                        !code
                            .get(..at)
                            .is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
                    })
            });
            if named && !allowed.iter().any(|layer| file.starts_with(layer)) {
                wrong.push(format!("src/{file} uses {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn locks_are_taken_by_one_helper() {
    let by_hand = ["PoisonError", ".lock().unwrap", ".lock().expect", ".write().unwrap", ".write().expect"];
    let mut wrong = Vec::new();
    for (file, text) in rust_files().into_iter().filter(|(file, _)| file != "event/lock.rs") {
        wrong.extend(by_hand.iter().filter(|way| text.contains(**way)).map(|way| format!("src/{file} has {way}")));
    }
    assert!(wrong.is_empty(), "lock it by event::lock: {wrong:#?}");
}

#[test]
fn followed_files_are_opened_by_one_file() {
    // What a stream follows is opened under the rules of the one file, and what it protects is looked through by the other.
    let allowed = ["source/file/open_file.rs", "source/file/protected.rs"];
    let opens =
        ["File::open", "OpenOptions", "fs::read", "fs::open", "openat", "fs::copy", "Dir::read_from", "open_receiver"];
    let mut wrong = Vec::new();
    for (file, text) in rust_files() {
        if !file.starts_with("source/file/")
            || file.starts_with("source/file/tests/")
            || allowed.contains(&file.as_str())
        {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        let found = opens.iter().filter(|open| code.contains(**open));
        wrong.extend(found.map(|open| format!("src/{file} has {open}")));
    }
    assert!(wrong.is_empty(), "open it by FileOpener: {wrong:#?}");
}

#[test]
fn files_are_short_enough_to_read() {
    // Only tests have these.
    let tests = ["source/file/tests/model.rs", "access/source_tests.rs"];
    let long: Vec<_> = rust_files()
        .into_iter()
        .filter(|(file, _)| !tests.contains(&file.as_str()))
        .map(|(file, text)| (file, text.split("#[cfg(test)]\nmod tests").next().unwrap_or("").lines().count()))
        .filter(|(_, lines)| *lines > 600)
        .collect();
    assert!(long.is_empty(), "a file of more than 600 lines hides a second type: {long:?}");
}

/// Where text may reach standard output or standard error: what prints; `rtlogd run`, which passes on what its command
/// writes; a child, whose own they are; what names them; and a test's model. The logger prints by its own crate.
const PRINTS: [&str; 5] = [
    "client/terminal/mod.rs",
    "daemon/wrap.rs",
    "event/mod.rs",
    "source/file/tests/model.rs",
    "source/process/child.rs",
];

#[test]
fn only_escaped_text_is_printed() {
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
    assert_eq!(printing, PRINTS, "print by `client::terminal`, which escapes what could steer a terminal");
}
