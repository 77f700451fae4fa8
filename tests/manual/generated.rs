//! The parts of the manual that the program writes: usage, options, keys, and files that are shown whole.

use std::env;
use std::fmt::Write as _;
use std::fs;

use clap::builder::ValueRange;
use serde_json::Value;

use crate::harness::sources;

use super::Page;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

#[test]
fn what_is_generated_is_what_the_program_says() {
    let schema = rtlogd::config::schema();
    let mut commands = rtlogd::cli::command().disable_help_subcommand(true);
    commands.build();
    for page in Page::manual() {
        let mut made = String::new();
        let mut rest = page.text.as_str();
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let (what, after) = after.split_once(" -->\n").expect("the comment ends");
            let (_, after) = after.split_once(END).unwrap_or_else(|| panic!("{}: {what} has no end", page.path));
            let (kind, of) = what.split_once(' ').unwrap_or((what, ""));
            let text = match kind {
                "usage" => usage(&command(&commands, of)),
                "options" => options(&command(&commands, of)),
                "commands" => list(&commands),
                "keys" => Keys(&schema).of(of),
                "file" => shown(of),
                _ => panic!("{}: nothing generates {kind}", page.path),
            };
            write!(made, "{before}{BEGIN}{what} -->\n\n{text}\n{END}").unwrap();
            rest = after;
        }
        made += rest;
        if env::var_os("RTLOGD_GENERATE").is_some() {
            fs::write(sources(&page.path), &made).unwrap();
            continue;
        }
        let differs = page.text.lines().zip(made.lines()).find(|(kept, made)| kept != made);
        assert!(
            page.text == made,
            "{} is not what the program says now: {differs:#?}; write it with RTLOGD_GENERATE=1 cargo it manual::generated",
            page.path
        );
    }
}

#[test]
fn every_command_has_a_page() {
    let commands = rtlogd::cli::command().disable_help_subcommand(true);
    let expected: Vec<_> =
        commands.get_subcommands().map(|command| format!("rtlogd-{}(1)", command.get_name())).collect();
    let pages = Page::manual();
    let mut found: Vec<_> = pages.iter().map(|page| page.title().to_owned()).collect();
    found.retain(|title| title.starts_with("rtlogd-") && title.ends_with("(1)"));
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(found), sorted(expected));
    for page in pages.iter().filter(|page| page.title().ends_with("(1)") && page.title() != "rtlogd(1)") {
        let name = page.title().trim_start_matches("rtlogd-").trim_end_matches("(1)");
        for part in ["usage", "options"] {
            assert!(page.text.contains(&format!("{BEGIN}{part} {name} -->")), "{}: {part}", page.path);
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_in_the_manual() {
    let schema = rtlogd::config::schema();
    let keys = Keys(&schema);
    let page = Page::read("packaging/man/rtlogd.yaml.5.md");
    let marked = |path: &str| page.text.contains(format!("{BEGIN}keys {path}").trim_end());
    assert!(marked(""));
    // The way to each object, and the object; the same one may be reached by several ways.
    let mut open = vec![(String::new(), &schema)];
    let mut objects = Vec::new();
    while let Some((path, object)) = open.pop() {
        for (key, setting) in object["properties"].as_object().expect("an object") {
            if let Some(inner) = keys.object(setting) {
                let path = format!("{path}.{key}").trim_start_matches('.').to_owned();
                open.push((path.clone(), inner));
                objects.push((path, inner));
            }
        }
    }
    assert!(objects.len() > 10, "{objects:?}");
    for (path, object) in &objects {
        let mut ways = objects.iter().filter(|(_, other)| std::ptr::eq(*other, *object));
        assert!(ways.any(|(way, _)| marked(&format!("{way} -->"))), "{} has no keys of {path}", page.path);
    }
}

fn command(all: &clap::Command, name: &str) -> clap::Command {
    all.find_subcommand(name).unwrap_or_else(|| panic!("there is no command {name}")).clone()
}

fn usage(command: &clap::Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    format!("`{usage}`\n")
}

fn list(all: &clap::Command) -> String {
    let mut text = "| command | what it does |\n|---|---|\n".to_owned();
    for command in all.get_subcommands() {
        let (name, about) = (command.get_name(), command.get_about().unwrap().to_string());
        writeln!(text, "| [rtlogd-{name}(1)](rtlogd-{name}.1.md) | {} |", cell(&about)).unwrap();
    }
    text
}

fn options(command: &clap::Command) -> String {
    let mut text = "| option | meaning |\n|---|---|\n".to_owned();
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let mut names: Vec<_> = argument.get_short().map(|short| format!("`-{short}`")).into_iter().collect();
        names.extend(argument.get_long().map(|long| format!("`--{long}`")));
        let takes = argument.get_num_args().unwrap_or_else(|| ValueRange::from(1)).takes_values();
        if takes {
            let values = argument.get_value_names().unwrap_or_default();
            let values: Vec<_> = values.iter().map(|value| format!("*{value}*")).collect();
            // Behind the last name, without a comma.
            let last = names.pop().unwrap_or_default();
            names.push(format!("{last} {}", values.join(" ")).trim().to_owned());
        }
        let head = names.join(", ");
        let mut about = argument.get_help().expect("every option has a help").to_string();
        if argument.get_id() == "help" {
            // The help of this option differs if a value has a longer help.
            "Print help".clone_into(&mut about);
        }
        let choices: Vec<_> = argument.get_possible_values();
        if takes && !choices.is_empty() {
            let choices: Vec<_> = choices.iter().map(|choice| format!("`{}`", choice.get_name())).collect();
            write!(about, " [possible values: {}]", choices.join(", ")).unwrap();
        }
        let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if takes && !defaults.is_empty() {
            write!(about, " [default: {}]", defaults.join(" ")).unwrap();
        }
        if let Some(variable) = argument.get_env() {
            write!(about, " [environment: `{}`]", variable.to_string_lossy()).unwrap();
        }
        writeln!(text, "| {head} | {} |", cell(&about)).unwrap();
    }
    text
}

/// A text in one cell of a table.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    let mut code = false;
    for c in text.chars() {
        match c {
            '`' => {
                code = !code;
                cell.push(c);
            }
            '\n' => cell.push(' '),
            '|' => cell += "\\|",
            '*' | '_' | '<' | '[' | ']' if !code => {
                cell.push('\\');
                cell.push(c);
            }
            c => cell.push(c),
        }
    }
    cell
}

/// A file of the repository, as a block: `PATH LANGUAGE`.
fn shown(of: &str) -> String {
    let (path, language) = of.split_once(' ').expect("a path and a language");
    let text = fs::read_to_string(sources(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    format!("```{language}\n{text}```\n")
}

/// The keys of the configuration, as its schema has them.
struct Keys<'a>(&'a Value);

impl<'a> Keys<'a> {
    /// Those of one object, such as `access.issuers`, or of the file itself.
    fn of(&self, path: &str) -> String {
        let object = path.split('.').filter(|key| !key.is_empty()).fold(self.0, |object, key| {
            self.object(&object["properties"][key]).unwrap_or_else(|| panic!("there are no keys in {path}"))
        });
        let mut text = "| key | meaning |\n|---|---|\n".to_owned();
        let properties = object["properties"].as_object().expect("an object");
        for (key, setting) in properties {
            let mut about = setting["description"].as_str().expect("every key has a description").to_owned();
            for inner in self.objects(setting) {
                for choice in inner["oneOf"].as_array().into_iter().flatten() {
                    if let (Some(word), Some(meaning)) = (choice["const"].as_str(), choice["description"].as_str()) {
                        write!(about, " `{word}`: {meaning}").unwrap();
                    }
                }
            }
            writeln!(text, "| `{key}` | {} |", cell(&about)).unwrap();
        }
        text
    }

    /// The targets of a setting: objects, or lists of choices.
    fn objects(&self, setting: &'a Value) -> Vec<&'a Value> {
        let alternatives = setting["anyOf"].as_array().into_iter().flatten();
        let alternatives = std::iter::once(setting).chain(alternatives).filter(|choice| choice.get("$ref").is_some());
        alternatives.map(|choice| self.named(&choice["$ref"])).collect()
    }

    /// The object that a key holds: itself, in a list, or by name.
    fn object(&self, setting: &'a Value) -> Option<&'a Value> {
        if let Some(reference) = setting.get("$ref") {
            let named = self.named(reference);
            return named.get("properties").is_some().then_some(named);
        }
        let inner = ["items", "additionalProperties"].into_iter().filter_map(|name| setting.get(name));
        let choices = setting.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        inner.chain(choices).find_map(|inner| self.object(inner))
    }

    fn named(&self, reference: &Value) -> &'a Value {
        let name =
            reference.as_str().and_then(|name| name.strip_prefix("#/$defs/")).expect("a definition of this schema");
        &self.0["$defs"][name]
    }
}
