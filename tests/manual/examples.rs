//! Every example of the manual and of README.md, exactly as printed.
//!
//! - `sh`: each command succeeds; a follower may instead print something and keep running.
//! - `console`: each command prints what is shown and ends. Numbers of two and more digits, times, durations and ids may differ. A line
//!   `...` stands for any lines; where it is the last one, the command need not end.
//! - `yaml`: a configuration that `rtlogd check` accepts.
//! - `json`: JSON. `js`, `html`: see `browser.rs`.
//! - `ini`: a drop-in that `tests/package` tries. The configurations of proxies are tried by `proxies.rs`.
//!
//! Commands that need systemd or a long build are tried by `tests/package` and `tests/check`, where they must stand word for word.

use std::fs;
use std::sync::LazyLock;

use regex::Regex;

use crate::harness::{Deadline, TestDir, sources};

use super::sandbox::{Running, Sandbox};
use super::{Block, Page};

/// The configuration that the examples expect.
const CONFIGURATION: &str = r#"
listen: ["127.0.0.1:7070", "unix:/run/rtlogd/rtlogd.sock"]
state_directory: /var/lib/rtlogd
access: { keys: /etc/rtlogd/keys }
limits: { connections: 1000 }
streams:
  build:
    description: Release build
    command: [sh, -c, 'for i in 20 40 60 80; do echo "[ $i%] Building object part-$i.o"; done; echo "part.c:7: error: unused variable"; echo "[100%] Built target demo"']
    restart: { when: never }
  shell: { command: [cat], input: true }
  server: { command: [sh, -c, "trap 'echo reopened' HUP; echo ready; while :; do sleep 0.1; done"] }
  deploy: { push: true }
  dpkg: { file: /var/log/dpkg.log, from: start }
  web: { file: /var/log/nginx/access.log, from: start }
"#;

#[test]
fn configurations_pass_the_check() {
    let mut checked = 0;
    for block in all().iter().flat_map(Page::blocks).filter(|block| block.language == "yaml") {
        let place = TestDir::new();
        fs::write(place.path("rtlogd.yaml"), &block.text).unwrap();
        let ended = place.execute(&["check", "--config", "rtlogd.yaml"]);
        assert!(ended.status.success(), "{}: {}\n{}", block.place, ended.err, block.text);
        checked += 1;
    }
    assert!(checked > 5, "{checked} configurations");
}

#[test]
fn json_is_json() {
    let mut parsed = 0;
    for block in all().iter().flat_map(Page::blocks).filter(|block| block.language == "json") {
        let values = serde_json::Deserializer::from_str(&block.text).into_iter::<serde_json::Value>();
        for value in values {
            assert!(value.is_ok(), "{}: {value:?}", block.place);
            parsed += 1;
        }
    }
    assert!(parsed > 2, "{parsed} values");
}

#[test]
fn every_block_has_a_language_that_is_tried() {
    let known =
        ["sh", "console", "yaml", "json", "js", "html", "ini", "nginx", "caddyfile", "haproxy", "traefik", "text"];
    for block in all().iter().flat_map(Page::blocks) {
        assert!(known.contains(&block.language.as_str()), "{}: nobody tries {:?}", block.place, block.language);
    }
}

#[test]
fn commands_of_the_readme_work() {
    try_page(&Page::read("README.md"));
}

#[test]
fn commands_of_sections_1_and_5_work() {
    for page in Page::manual().iter().filter(|page| !page.path.contains(".7.")) {
        try_page(page);
    }
}

#[test]
fn commands_of_section_7_work() {
    for page in Page::manual().iter().filter(|page| page.path.contains(".7.")) {
        try_page(page);
    }
}

/// systemd is in the guest only.
#[test]
fn drop_ins_are_tried_with_the_package() {
    let mut found = 0;
    for block in all().iter().flat_map(Page::blocks).filter(|block| block.language == "ini") {
        assert!(OTHERS.contains(&block.text), "{}: tests/package does not try this: {}", block.place, block.text);
        found += 1;
    }
    assert!(found > 5, "{found} drop-ins");
}

fn all() -> Vec<Page> {
    let mut pages = Page::manual();
    pages.push(Page::read("README.md"));
    pages
}

fn try_page(page: &Page) {
    let blocks: Vec<_> =
        page.blocks().into_iter().filter(|block| ["sh", "console"].contains(&&*block.language)).collect();
    if blocks.is_empty() {
        return;
    }
    let Some(sandbox) = Sandbox::new() else { return };
    sandbox.configure("rtlogd/rtlogd.yaml", CONFIGURATION);
    let mut server = Server { section: String::new(), running: None };
    for block in &blocks {
        try_block(&sandbox, block, &mut server);
    }
}

/// The daemon that answers on port 7070: one that an example has started, up to the end of its section, else the usual one.
struct Server {
    section: String,
    running: Option<(bool, Running)>,
}

impl Server {
    fn run(&mut self, sandbox: &Sandbox, section: &str, example: Option<&str>) {
        let is_usual = example.is_none();
        if section != self.section || !is_usual {
            section.clone_into(&mut self.section);
            if is_usual && self.running.as_ref().is_some_and(|(usual, _)| *usual) {
                return;
            }
        } else if self.running.is_some() {
            return;
        }
        self.running = None;
        sandbox.run("while curl -s -o /dev/null http://127.0.0.1:7070/health/live; do :; done; rm -f /run/rtlogd/*");
        let script = example.unwrap_or("exec rtlogd serve");
        let mut running = sandbox.start(script);
        Deadline::new().until(&format!("a daemon by {script}"), || {
            let code = running.code();
            assert!(code.is_none(), "{script}: ended with {code:?}: {}", running.printed());
            let probe = "curl -s http://127.0.0.1:7070/health/ready || true";
            (sandbox.run(probe) == "ready\n").then_some(())
        });
        if is_usual {
            let build = "curl -s http://127.0.0.1:7070/streams/build/state";
            Deadline::new().until("the end of the build", || sandbox.run(build).contains("stopped").then_some(()));
        }
        self.running = Some((is_usual, running));
    }
}

/// A command of a block, and what it is shown to print.
#[derive(Debug)]
struct Example {
    command: String,
    expected: Option<String>,
}

/// Every line that a page shows as printed.
pub(super) fn output(page: &Page) -> Vec<String> {
    let blocks = page.blocks().into_iter().filter(|block| block.language == "console");
    let expected = blocks.flat_map(|block| examples(&block)).filter_map(|example| example.expected);
    expected.flat_map(|text| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()).collect()
}

fn examples(block: &Block) -> Vec<Example> {
    let mut all: Vec<Example> = Vec::new();
    let mut goes_on = false;
    for line in block.text.lines() {
        let command = if block.language == "console" { line.strip_prefix("$ ") } else { Some(line) };
        match (command, all.last_mut()) {
            (_, Some(last)) if goes_on => {
                last.command += "\n";
                last.command += line.strip_prefix("> ").unwrap_or(line);
            }
            (Some(command), _) if command.trim().is_empty() || command.starts_with('#') => continue,
            (Some(command), _) => {
                let expected = (block.language == "console").then(String::new);
                all.push(Example { command: command.to_owned(), expected });
            }
            (None, Some(Example { expected: Some(expected), .. })) => {
                expected.push_str(line);
                expected.push('\n');
            }
            (None, _) => panic!("{}: output of no command: {line}", block.place),
        }
        // Up to its last line, or to the end of its here-document.
        let command = &all.last().expect("a command").command;
        goes_on = line.ends_with('\\') || (command.contains("<<'END'") && !command.ends_with("\nEND"));
    }
    all
}

/// A command that serves on port 7070 until it is stopped.
static SERVES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(rtlogd|--|first-look) serve\b").expect("a pattern"));

/// A command that does not end by itself.
static FOLLOWS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"curl -N|rtlogd follow|--linger").expect("a pattern"));

/// A command that keeps what another printed, for those after it.
static ASSIGNS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)^(?:export )?([A-Za-z_]+)=(?:\$\(.*\)|[^ ;]*)$").expect("a pattern"));

fn try_block(sandbox: &Sandbox, block: &Block, server: &mut Server) {
    let mut variables = String::new();
    let mut status = 0;
    for Example { command, expected } in examples(block) {
        if tried_elsewhere(&command, &block.place) {
            continue;
        }
        if SERVES.is_match(&command) && !command.contains("--daemon") {
            server.run(sandbox, &block.section, Some(&command));
            continue;
        }
        server.run(sandbox, &block.section, None);
        if let Some(found) = ASSIGNS.captures(&command) {
            variables +=
                &sandbox.run(&format!("set -e\n{variables}\n{{ {command}; }} 2>/dev/null\ndeclare -p {}", &found[1]));
            continue;
        }
        let mut running = sandbox.start(&format!("{variables}(exit {status})\n{command}"));
        let what = format!("{}: {command}", block.place);
        let done = Deadline::new().find(|| {
            let code = running.code();
            let printed = running.printed();
            match (&expected, code) {
                (Some(expected), Some(_)) if agrees(expected, &printed, true) => Some(code),
                (Some(expected), None) if expected.ends_with("...\n") && agrees(expected, &printed, false) => {
                    Some(None)
                }
                (None, Some(0)) => Some(code),
                (None, None) if FOLLOWS.is_match(&command) && !printed.is_empty() => Some(None),
                (_, Some(_)) => Some(Some(-2)),
                _ => None,
            }
        });
        let printed = running.printed();
        match done {
            Some(Some(-2)) | None => panic!(
                "{what}\n--- printed, and ended with {:?}:\n{printed}--- instead of:\n{}",
                running.code(),
                expected.unwrap_or_default()
            ),
            Some(code) => status = code.unwrap_or(0),
        }
    }
}

/// The tests that have systemd, or time for a build.
static OTHERS: LazyLock<String> =
    LazyLock::new(|| ["tests/package", "tests/check"].map(|path| fs::read_to_string(sources(path)).unwrap()).concat());

/// Returns whether a command belongs to another test; that test must contain it.
fn tried_elsewhere(command: &str, place: &str) -> bool {
    let command = command.split("  #").next().unwrap_or_default().trim().trim_start_matches("sudo ");
    let programs = ["systemctl ", "journalctl ", "apt ", "cargo install", "tests/check", "adduser ", "logrotate "];
    if !programs.iter().any(|program| command.starts_with(program)) {
        return false;
    }
    assert!(OTHERS.contains(command), "{place}: neither tests/package nor tests/check tries this: {command}");
    true
}

/// Returns whether the output matches the one shown.
fn agrees(expected: &str, printed: &str, ended: bool) -> bool {
    let mut pattern = "^".to_owned();
    for line in normal(expected).lines() {
        if line == "..." {
            pattern += "(?:.*\n)*?";
        } else {
            pattern += &regex::escape(line.trim_end());
            pattern += " *\n";
        }
    }
    if ended && !expected.ends_with("...\n") {
        pattern.push('$');
    }
    Regex::new(&pattern).unwrap().is_match(&normal(printed))
}

/// The text without what differs from one time to the next.
fn normal(text: &str) -> String {
    static DIFFERENT: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
        let regex = |pattern| Regex::new(pattern).expect("a pattern");
        [
            (regex(r"\d{4}-\d\d-\d\dT[0-9:.]+Z"), "TIME"),
            (regex(r"\b[0-9a-z]{8,20}-\d+\b"), "ID"),
            (regex(r"\beyJ[\w.-]+"), "TOKEN"),
            (regex(r" *\b(?:\d+[dhm] )?\d+[hms] +"), " DURATION "),
            (regex(r"\d+\.\d+|\d\d+"), "N"),
        ]
    });
    DIFFERENT.iter().fold(text.to_owned(), |text, (regex, word)| regex.replace_all(&text, *word).into_owned())
}
