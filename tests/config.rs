//! The configuration: what is right passes, and all that is wrong is told at once, each with its place.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{TestDir, sources};

#[test]
fn a_good_configuration_is_ok() {
    let dir = TestDir::new();
    dir.configure("streams: { app: { file: app.log } }");
    let ended = dir.execute(&["check", "--config", "rtlogd.yaml"]);
    assert_eq!((ended.status.code(), ended.out.as_slice()), (Some(0), &b"ok\n"[..]), "{}", ended.err);
}

#[test]
fn all_mistakes_are_reported_with_file_line_and_column() {
    let dir = TestDir::new();
    let yaml = "listen: [\"127.0.0.1:0\"]\n\
                memroy: 1MiB\n\
                limits:\n\
                \x20 head: fast\n\
                streams:\n\
                \x20 app: { file: app.log, colour: red }\n\
                \x20 .bad: { file: app.log }\n\
                \x20 none: {}\n\
                \x20 app: { file: again.log }\n";
    fs::write(dir.path("rtlogd.yaml"), yaml).unwrap();
    let ended = dir.execute(&["check", "--config", "rtlogd.yaml"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.err);
    assert!(ended.out.is_empty(), "{}", String::from_utf8_lossy(&ended.out));
    for (line, column, word) in
        [(2, 1, "memroy"), (4, 9, "fast"), (6, 25, "colour"), (7, 3, ".bad"), (8, 3, "none"), (9, 3, "app")]
    {
        let position = format!("rtlogd.yaml:{line}:{column}");
        let told = ended.err.lines().any(|told| told.contains(&position) && told.contains(word));
        assert!(told, "nothing of {word} at {position}: {}", ended.err);
    }
}

#[test]
fn words_that_older_yaml_read_as_booleans_get_a_message() {
    let dir = TestDir::new();
    dir.configure("access: { insecure: yes }\nstreams: { app: { file: app.log } }");
    let ended = dir.execute(&["check", "--config", "rtlogd.yaml"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.err);
    assert!(ended.err.contains("true"), "{}", ended.err);
}

#[test]
fn a_daemon_with_mistakes_does_not_start() {
    let dir = TestDir::new();
    dir.configure("streams: { app: { file: app.log, colour: red } }");
    let ended = dir.execute(&["serve", "--config", "rtlogd.yaml"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.err);
    assert!(ended.err.contains("rtlogd.yaml:2:34"), "{}", ended.err);
}

#[test]
fn a_missing_configuration_is_named() {
    let ended = TestDir::new().execute(&["check", "--config", "nowhere.yaml"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.err);
    assert!(ended.err.contains("nowhere.yaml"), "{}", ended.err);
}

#[test]
fn files_in_the_drop_in_directory_add_streams() {
    let dir = TestDir::new();
    dir.configure("streams: { a: { file: a.log, from: start } }");
    fs::create_dir(dir.path("conf.d")).unwrap();
    dir.write("conf.d/10-b.yaml", "streams: { b: { file: ../b.log, from: start } }\n");
    dir.write("a.log", "of a\n");
    dir.write("b.log", "of b\n");
    let daemon = dir.launch(&["serve", "--config", "rtlogd.yaml"], std::process::Stdio::null());
    assert_eq!(daemon.follow("a").take(1)[0].data, "of a");
    assert_eq!(daemon.follow("b").take(1)[0].data, "of b");
}

#[test]
fn every_address_begins_with_the_base_path() {
    let dir = TestDir::new();
    dir.write("app.log", "one\n");
    let daemon = dir.start("base_path: /logs\nstreams: { app: { file: app.log, from: start } }");
    assert_eq!(daemon.request("/logs/streams/app").take(1)[0].data, "one");
    assert_eq!(daemon.request("/streams/app").status(), 404);
    assert_eq!(daemon.request("/logsstreams/app").status(), 404);
    // Probes need not know the base path.
    assert_eq!(daemon.request("/health/live").status(), 200);
    assert_eq!(daemon.request("/logs/health/live").status(), 200);
}

#[test]
fn check_mentions_environment_files_that_cannot_be_used() {
    let dir = TestDir::new();
    dir.write("good.env", "A=1\nB='two\nlines'\n");
    dir.write("wrong.env", "A=1\nnonsense\n");
    dir.write("binary.env", b"A=1\n\n\xff\n");
    for (file, why) in [
        ("good.env", ""),
        ("wrong.env", "line 2 is not NAME=value"),
        ("binary.env", "line 3 is not UTF-8"),
        ("missing.env", "No such file"),
        (".", "it is not a regular file"),
    ] {
        dir.configure(&format!("streams: {{ a: {{ command: [sh], environment_file: {file} }} }}"));
        let ended = dir.execute(&["check", "--config", "rtlogd.yaml"]);
        assert_eq!(ended.status.code(), Some(0), "{file}: {}", ended.err);
        assert_eq!(ended.err.contains("the environment file"), !why.is_empty(), "{file}: {}", ended.err);
        assert!(ended.err.contains(why), "{file}: {}", ended.err);
    }
}

/// All YAML files below a directory.
fn yamls(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yamls(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_shipped_configuration_passes_the_check() {
    let mut found = Vec::new();
    yamls(&sources("config"), &mut found);
    // The manifests for Kubernetes contain configurations; see `kubernetes`.
    found.retain(|path| !path.ends_with("examples/kubernetes.yaml"));
    assert!(!found.is_empty());
    for path in found {
        let ended = TestDir::new().execute(&["check", "--config", path.to_str().unwrap()]);
        assert_eq!(ended.status.code(), Some(0), "{}: {}", path.display(), ended.err);
    }
}

#[test]
fn the_schema_is_json() {
    let ended = TestDir::new().execute(&["schema"]);
    assert!(ended.status.success(), "{}", ended.err);
    let schema: serde_json::Value = serde_json::from_slice(&ended.out).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"), "{schema}");
    assert!(schema["properties"]["streams"].is_object(), "{schema}");
}
