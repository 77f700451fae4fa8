//! What the package ships: the manual and the completions are what the program says of itself now.
//!
//! `RTLOGD_GENERATE=1 cargo it package::` writes them anew. `tests/package` tries the package itself, in a guest.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use clap_complete::Shell;
use serde_json::Value;

use crate::harness::{skip, sources};

/// Compares what is made now with what is kept in `folder`; or writes it there, if that was asked for.
fn compare(folder: &str, made: &BTreeMap<String, String>) {
    let folder = sources(folder);
    if env::var_os("RTLOGD_GENERATE").is_some() {
        for (name, text) in made {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    for (name, text) in made {
        let kept = fs::read_to_string(folder.join(name)).unwrap_or_default();
        let differs = kept.lines().zip(text.lines()).find(|(kept, made)| kept != made);
        assert!(
            kept == *text,
            "{} is not what the program says now: {differs:?}; write it anew with RTLOGD_GENERATE=1 cargo it package::",
            folder.join(name).display()
        );
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_manual_of_commands_is_true() {
    let directory = tempfile::tempdir().unwrap();
    clap_mangen::generate_to(rtlogd::cli::command().disable_help_subcommand(true), directory.path()).unwrap();
    let mut made = BTreeMap::new();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        made.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), read(&path));
    }
    let first = made.get_mut("rtlogd.1").expect("the page of the program itself");
    // What no option says, people wrote.
    *first += &read(&sources("packaging/rtlogd.1.in"));
    assert!(made.len() > 4, "a page for each command: {:?}", made.keys());
    compare("packaging/man", &made);
    let kept = fs::read_dir(sources("packaging/man")).unwrap();
    let old: Vec<_> = kept
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "rtlogd.yaml.5" && !made.contains_key(name))
        .collect();
    assert!(old.is_empty(), "pages of commands that are no more: {old:?}");
}

#[test]
fn the_manual_of_the_configuration_is_true() {
    let made = BTreeMap::from([("rtlogd.yaml.5".to_owned(), Page::of(&rtlogd::config::schema()))]);
    compare("packaging/man", &made);
}

#[test]
fn the_completions_are_true() {
    let mut made = BTreeMap::new();
    for (shell, name) in [(Shell::Bash, "rtlogd.bash"), (Shell::Zsh, "_rtlogd"), (Shell::Fish, "rtlogd.fish")] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut rtlogd::cli::command(), "rtlogd", &mut script);
        made.insert(name.to_owned(), String::from_utf8(script).unwrap());
    }
    compare("packaging/completions", &made);
}

#[test]
fn the_units_have_no_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let units: Vec<_> = fs::read_dir(sources("systemd")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(units.len(), 3);
    for unit in &units {
        // Where this machine has no package installed, the program is another.
        let text = read(unit).replace("/usr/bin/rtlogd", env!("CARGO_BIN_EXE_rtlogd"));
        fs::write(directory.path().join(unit.file_name().unwrap()), text).unwrap();
    }
    for name in ["rtlogd.service", "rtlogd.socket", "rtlogd@one.service"] {
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no"]).arg(directory.path().join(name));
        match command.output() {
            Ok(said) => assert!(
                said.status.success() && said.stderr.is_empty(),
                "{name}: {}",
                String::from_utf8_lossy(&said.stderr)
            ),
            Err(error) => return skip(&format!("systemd-analyze, which tests/check installs, cannot be run: {error}")),
        }
    }
}

/// A page of the manual, in the making.
struct Page<'a> {
    schema: &'a Value,
    text: String,
}

impl<'a> Page<'a> {
    /// rtlogd.yaml(5), made of the schema.
    fn of(schema: &'a Value) -> String {
        let mut page = Self { schema, text: String::new() };
        page.line(".TH rtlogd.yaml 5 \"\" \"rtlogd\" \"File formats\"");
        page.line(".SH NAME\nrtlogd.yaml \\- what rtlogd follows and runs, and where it serves");
        page.line(".SH SYNOPSIS\n.I /etc/rtlogd/rtlogd.yaml\n.br\n.I /etc/rtlogd/conf.d/*.yaml");
        page.line(".SH DESCRIPTION");
        page.words(schema["description"].as_str().unwrap());
        page.words(
            "It is YAML. Streams of all files come together; of any other key at the left edge, the last file that has it \
            counts, as a whole. Paths that do not begin with / are seen from the directory of the file. `rtlogd check` says \
            what is wrong with it, each mistake with line and column, and `rtlogd reload` or `systemctl reload rtlogd` \
            applies what changed.",
        );
        page.words("Sizes are written as 512, 64KiB, 8MiB or 1GiB; times as 500ms, 15s, 5m, 2h or 7d.");
        page.line(".SH SETTINGS");
        page.properties(schema, "");
        page.line(".SH EXAMPLE\n.nf");
        for line in EXAMPLE.lines() {
            let line = escaped(line);
            page.line(&line);
        }
        page.line(".fi\n.SH SEE ALSO\n.BR rtlogd (1),\n.BR rtlogd\\-check (1),\n.BR rtlogd\\-reload (1)");
        page.text
    }

    fn line(&mut self, line: &str) {
        self.text += line;
        self.text += "\n";
    }

    fn words(&mut self, words: &str) {
        self.line(".PP");
        let words = escaped(&words.replace('\n', " "));
        self.line(&words);
    }

    /// All settings of an object; those of objects in it follow each, with the way to them in front.
    fn properties(&mut self, object: &'a Value, way: &str) {
        let Some(properties) = object["properties"].as_object() else { return };
        for (name, setting) in properties {
            let name = format!("{way}{name}");
            self.line(&format!(".TP\n.B {}", escaped(&name)));
            let about = setting["description"].as_str().unwrap_or_default();
            let about = escaped(&about.replace('\n', " "));
            self.line(if about.is_empty() { "\\&" } else { &about });
            for inner in self.meant(setting) {
                self.choices(inner);
                self.properties(inner, &format!("{name}."));
            }
            if let Some(entry) = setting["additionalProperties"].as_object().and_then(|entry| entry.get("$ref")) {
                let entry = self.named(entry);
                self.properties(entry, &format!("{name}.NAME."));
            }
        }
    }

    /// The definitions that a setting refers to.
    fn meant(&self, setting: &'a Value) -> Vec<&'a Value> {
        let one = setting.get("$ref").map(|name| self.named(name));
        let some = setting["anyOf"].as_array().into_iter().flatten();
        one.into_iter().chain(some.filter_map(|choice| choice.get("$ref")).map(|name| self.named(name))).collect()
    }

    fn named(&self, reference: &Value) -> &'a Value {
        let name = reference.as_str().unwrap().strip_prefix("#/$defs/").expect("a definition of this schema");
        &self.schema["$defs"][name]
    }

    /// The words that may stand there, each with its meaning.
    fn choices(&mut self, definition: &Value) {
        for choice in definition["oneOf"].as_array().into_iter().flatten() {
            let (Some(word), about) = (choice["const"].as_str(), choice["description"].as_str().unwrap_or_default())
            else {
                continue;
            };
            let line = format!(".br\n{}: {}", escaped(word), escaped(&about.replace('\n', " ")));
            self.line(&line);
        }
    }
}

const EXAMPLE: &str = "listen: [\"127.0.0.1:7070\", \"unix:/run/rtlogd/rtlogd.sock\"]
state_directory: /var/lib/rtlogd
streams:
  web: { file: /var/log/nginx/access.log }
  build:
    command: [make, -j8]
    directory: /srv/app
    restart: { when: on-failure, backoff: 1s..60s }";

/// The text as roff takes it for itself (`groff_man(7)`).
fn escaped(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        match c {
            '\\' => line += "\\e",
            '-' => line += "\\-",
            '\'' => line += "\\(aq",
            '`' => line += "\\(ga",
            '^' => line += "\\(ha",
            '~' => line += "\\(ti",
            c => write!(line, "{c}").unwrap(),
        }
    }
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}
