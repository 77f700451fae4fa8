//! The configuration files of the package, and changed or arbitrary texts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::{config, file};
use crate::config::parse::yaml::{self, YamlNode, YamlValue};
use crate::config::{
    AccessConfig, Config, FileSelector, JournalSourceConfig, Limits, ReadFrom, Restart, SourceKind, Stop, Stream,
    schema,
};

const SHIPPED_CONFIG: &str = include_str!("../../../config/rtlogd.yaml");
const DEMO_CONFIG: &str = include_str!("../../../config/demo.yaml");

/// The shipped file with all its settings enabled. Disabled settings follow a `#` with no space, or with as many
/// spaces as the line is to be indented.
fn in_force() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with("  ") || setting.starts_with(char::is_alphabetic) => setting.to_owned(),
        _ => line.to_owned(),
    };
    SHIPPED_CONFIG.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn the_shipped_file_loads_and_shows_the_defaults() {
    let dpkg = file("dpkg", "/var/log/dpkg.log", ReadFrom::Beginning);
    let journal = Stream::new("journal".parse().unwrap(), SourceKind::Journal(JournalSourceConfig::default()));
    assert_eq!(
        config(&[SHIPPED_CONFIG]),
        Ok(Config { streams: vec![journal.clone(), dpkg.clone()], ..Config::default() })
    );
    let full = config(&[&in_force()]).unwrap();
    let [all, part, host, shown, apps, build, deploy] = full.streams.clone().try_into().unwrap();
    // These settings have no default that the file could show, so it shows the paths of the package.
    assert_eq!(full.state_directory, Some("/var/lib/rtlogd".into()));
    assert_eq!(full.access.keys, Some("/etc/rtlogd/keys".into()));
    assert_eq!(full.limits.lifetime, Some(Duration::from_hours(24)));
    let limits = Limits { lifetime: None, ..full.limits };
    let (tls, access, state_directory) = (None, AccessConfig::default(), None);
    let rest = Config { streams: Vec::new(), state_directory, tls, access, limits, ..full };
    assert_eq!(rest, Config::default());
    assert_eq!(shown.private, Some(false));
    let shown = Stream { description: None, labels: BTreeMap::new(), multiline: None, private: None, ..shown };
    assert_eq!(shown, dpkg);
    assert_eq!((all, deploy.source), (journal, SourceKind::Push));
    let SourceKind::Journal(part) = part.source else { panic!("{part:?}") };
    assert_eq!((part.from, part.units.len()), (ReadFrom::default(), 1));
    let SourceKind::Journal(host) = host.source else { panic!("{host:?}") };
    assert_eq!(host.directory, Some("/host/var/log/journal".into()));
    let SourceKind::File(apps) = apps.source else { panic!("{apps:?}") };
    assert!(matches!(&apps.files[..], [FileSelector::Pattern(_), FileSelector::Pattern(_)]), "{apps:?}");
    assert_eq!((apps.from, apps.rotate_wait), (ReadFrom::default(), crate::config::DEFAULT_ROTATE_WAIT));
    let SourceKind::Process(process) = build.source else { panic!("{build:?}") };
    assert_eq!(Restart { limit: None, ..process.restart }, Restart::default());
    assert_eq!(process.stop, Stop::default());
}

/// Adds the path of every key that the schema allows, such as `streams.*.stop.grace`; `*` stands for any name. Each has
/// a description and, next to others, is one of a fixed set.
fn schema_paths(schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        return schema_paths(root.pointer(name.trim_start_matches('#')).expect(name), root, path, found);
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        assert_eq!(schema["additionalProperties"], false, "{path}");
        assert!(property["description"].is_string(), "{path}{key} has no description");
        found.insert(format!("{path}{key}"));
        schema_paths(property, root, &format!("{path}{key}."), found);
    }
    if schema["additionalProperties"].is_object() {
        schema_paths(&schema["additionalProperties"], root, &format!("{path}*."), found);
    }
    schema_paths_of_each(&schema["anyOf"], root, path, found);
    schema_paths_of_each(&schema["oneOf"], root, path, found);
    if schema["items"].is_object() {
        schema_paths(&schema["items"], root, path, found);
    }
}

fn schema_paths_of_each(schemas: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
    schemas.as_array().into_iter().flatten().for_each(|schema| schema_paths(schema, root, path, found));
}

/// Adds the path of every key of the text, once as it is written and once with `*` for each name in it.
fn written_paths(node: &YamlNode, path: &str, found: &mut BTreeSet<String>) {
    match &node.value {
        YamlValue::Map(entries) => {
            for (key, value) in entries {
                let YamlValue::Text(key) = &key.value else { panic!("{key:?}") };
                found.insert(format!("{path}{key}"));
                written_paths(value, &format!("{path}{key}."), found);
                written_paths(value, &format!("{path}*."), found);
            }
        }
        YamlValue::List(items) => items.iter().for_each(|item| written_paths(item, path, found)),
        YamlValue::Null | YamlValue::Bool(_) | YamlValue::Number(_) | YamlValue::Text(_) | YamlValue::Tagged(_) => {}
    }
}

#[test]
fn every_key_of_the_schema_is_described_and_in_the_shipped_file() {
    /// Keys that cannot stand beside those that the file shows, and the text that mentions each.
    const MENTIONED: [(&str, &str); 3] = [
        ("streams.*.multiline.continue", "#      # continue: ^\\s\n"),
        ("streams.*.progress.pattern", "# [{ pattern: 'step (?P<current>[0-9]+) of (?P<total>[0-9]+)' }]"),
        ("streams.*.redact.pattern", "such as [{ pattern: 'pin (?P<secret>[0-9]+)' }]"),
    ];
    let schema = schema();
    let (mut known, mut written) = (BTreeSet::new(), BTreeSet::new());
    schema_paths(&schema, &schema, "", &mut known);
    assert!(known.len() > 75 && known.contains("streams.*.stop.grace"), "{} paths: {known:?}", known.len());
    written_paths(&yaml::parse(&in_force()).unwrap(), "", &mut written);
    for (path, text) in MENTIONED {
        assert!(!written.contains(path) && SHIPPED_CONFIG.contains(text), "{path}");
        written.insert(path.to_owned());
    }
    let missing: Vec<_> = known.difference(&written).collect();
    assert!(missing.is_empty(), "config/rtlogd.yaml does not mention {missing:?}");
}

#[test]
fn the_demo_loads() {
    let demo = config(&[DEMO_CONFIG]).unwrap();
    let names: Vec<&str> = demo.streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["build", "app"]);
    assert_eq!(Config { streams: Vec::new(), ..demo }, Config::default());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}|([a-c1~]|[ \n\t:{}\\[\\],&*!|>'\"#%@`?-]|<<|- |: |\n ){0,60}") {
        if let Err(error) = config(&[&text]) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_changed_file_is_read_or_refused(
        cuts in proptest::collection::vec((0usize..9999, 0usize..6, "[a-z0-9 \n:{}\\[\\],&*!'\"~<-]{0,4}"), 1..6),
    ) {
        let mut text: Vec<char> = in_force().chars().collect();
        for (at, length, new) in cuts {
            let at = at % text.len();
            let end = (at + length).min(text.len());
            text.splice(at..end, new.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = config(&[&text]) {
            for mistake in error.iter() {
                let (line, column) = mistake.location.unwrap();
                prop_assert!(line <= text.lines().count() + 1 && column > 0, "{}", mistake);
            }
        }
    }
}
