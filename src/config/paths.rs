//! A configuration made from paths: `rtlogd serve PATH...`. Resolves paths, and opens only YAML files.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::event::{StreamName, shell_word};

use super::check::file::pattern_mistakes;
use super::report::{ConfigError, ConfigErrors};
use super::{Config, FileSelector, FileSourceConfig, SourceKind, Stream, load};

/// The path that stands for the standard input, whose stream is named `stdin`.
pub const STANDARD_INPUT: &str = "-";

/// The default configuration with one stream for each path, in the order given; a file that is named twice is one
/// stream. A path that does not exist and has wildcards is a pattern, as in a configuration: its files are one stream.
///
/// A stream has the name of its file, with `_` for characters that are not valid in a name. Files of the same name are
/// distinguished by their directories (`a.out.log`, `b.out.log`). A name that is too long is cut at its start.
///
/// # Errors
/// If a path is empty, a directory, a wrong pattern or a configuration of rtlogd.
pub fn from_paths(paths: &[PathBuf]) -> Result<Config, ConfigErrors> {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for path in paths {
        let path = if path.as_os_str() == STANDARD_INPUT { &PathBuf::from("/dev/stdin") } else { path };
        let wrong =
            |text: &str| ConfigErrors::from(ConfigError { file: path.clone(), location: None, text: text.into() });
        let absolute =
            std::path::absolute(path).map_err(|error| wrong(&format!("cannot be used as a path: {error}")))?;
        if path.is_dir() {
            let all = shell_word(&path.join("*.log").to_string_lossy());
            return Err(wrong(&format!("is a directory (name the files in it, or write a pattern such as {all})")));
        }
        if load::is_configuration(path) {
            let name = shell_word(&path.to_string_lossy());
            return Err(wrong(&format!(
                "is a configuration, not a log (did you mean `rtlogd serve --config {name}`?)"
            )));
        }
        let selector = selector(absolute.clone());
        if let FileSelector::Pattern(pattern) = &selector
            && let Some(mistake) = pattern_mistakes(pattern).first()
        {
            return Err(wrong(mistake));
        }
        if seen.insert(fs::canonicalize(&absolute).unwrap_or_else(|_| absolute.clone())) {
            files.push(absolute);
        }
    }
    let streams = names(&files).into_iter().zip(files).map(|(name, path)| {
        let source = SourceKind::File(FileSourceConfig::of(selector(path)));
        Stream::new(name, source)
    });
    Ok(Config { streams: streams.collect(), ..Config::default() })
}

/// The file at this path if there is one, whatever its name; otherwise what the path means in a configuration.
fn selector(path: PathBuf) -> FileSelector {
    if path.exists() { FileSelector::Path(path) } else { FileSelector::of_path(path) }
}

/// The name of a stream for this file or program: its last component, as [`from_paths`] writes it.
pub fn stream_name_of(path: &Path) -> StreamName {
    to_stream_name(&candidate(&parts(path), 1))
}

/// The result of `fit` as a name.
fn to_stream_name(name: &str) -> StreamName {
    name.parse().expect("1 to 64 of the letters a name may hold, and no dot in front")
}

/// A unique name for each path.
fn names(paths: &[PathBuf]) -> Vec<StreamName> {
    let parts: Vec<Vec<String>> = paths.iter().map(|path| parts(path)).collect();
    let mut depths = vec![1; paths.len()];
    loop {
        let candidates: Vec<String> =
            parts.iter().zip(&depths).map(|(parts, depth)| candidate(parts, *depth)).collect();
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for name in &candidates {
            *count.entry(name).or_default() += 1;
        }
        let mut deeper = false;
        for ((depth, parts), name) in depths.iter_mut().zip(&parts).zip(&candidates) {
            if count.get(name.as_str()).is_some_and(|count| *count > 1) && *depth < parts.len() {
                *depth += 1;
                deeper = true;
            }
        }
        if !deeper {
            return numbered(candidates);
        }
    }
}

/// The components of a path from the last to the first, with only valid characters.
fn parts(path: &Path) -> Vec<String> {
    let plain = |c: char| if StreamName::is_valid_char(c) { c } else { '_' };
    let names = path.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name.to_string_lossy().chars().map(plain).collect()),
        _ => None,
    });
    let mut names: Vec<String> = names.collect();
    names.reverse();
    names
}

/// The last `depth` components of a path with dots between them, as a valid name.
fn candidate(parts: &[String], depth: usize) -> String {
    let names: Vec<&str> = parts.iter().take(depth).rev().map(String::as_str).collect();
    fit(&names.join("."), "")
}

/// The end of `name` that fits before `suffix`, and then the suffix.
fn fit(name: &str, suffix: &str) -> String {
    let name: Vec<char> = name.chars().collect();
    let over = (name.len() + suffix.len()).saturating_sub(StreamName::MAX_LENGTH);
    let text: String = name.into_iter().skip(over).chain(suffix.chars()).collect();
    match text.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None if text.is_empty() => "_".into(),
        None => text,
    }
}

/// The names; later ones of the same name get `-2`, `-3` and so on.
fn numbered(candidates: Vec<String>) -> Vec<StreamName> {
    let mut taken = HashSet::new();
    let free = |name: String| {
        let others = (2u64..).map(|number| fit(&name, &format!("-{number}")));
        let free = std::iter::once(name.clone()).chain(others).find(|name| taken.insert(name.clone()));
        to_stream_name(&free.expect("of endless numbers one is free"))
    };
    candidates.into_iter().map(free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(paths: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let config = from_paths(&paths).unwrap();
        config.streams.iter().map(|stream| stream.name.to_string()).collect()
    }

    #[test]
    fn streams_are_named_after_their_files() {
        let long = format!("/nowhere/{}.log", "x".repeat(100));
        let cut = format!("{}.log", "x".repeat(60));
        let table: [(&[&str], &[&str]); 8] = [
            (&["/nowhere/app.log"], &["app.log"]),
            (&["/nowhere/my app:1.log", "/nowhere/.hidden"], &["my_app_1.log", "_hidden"]),
            (&["/nowhere/a/out.log", "/nowhere/b/out.log", "/nowhere/c.log"], &["a.out.log", "b.out.log", "c.log"]),
            (&["/nowhere/a/x/out.log", "/nowhere/b/x/out.log"], &["a.x.out.log", "b.x.out.log"]),
            (&["/nowhere/.a/o", "/nowhere/b/o"], &["_a.o", "b.o"]),
            (&["/nowhere/a b", "/nowhere/a_b", "/nowhere/a:b"], &["nowhere.a_b", "nowhere.a_b-2", "nowhere.a_b-3"]),
            (&[&long], &[&cut]),
            (&["/nowhere/a.log", "/nowhere/./a.log", "/nowhere//a.log"], &["a.log"]),
        ];
        for (paths, names) in table {
            assert_eq!(named(paths), names, "{paths:?}");
        }
    }

    #[test]
    fn a_configuration_is_not_followed_as_a_log() {
        let home = tempfile::tempdir().unwrap();
        for (name, text, is_configuration) in [
            ("rtlogd.yaml", "streams: { a: { file: /x } }\n", true),
            ("a.YML", "listen: 7070\nstreams:\n  a:\n    path: /x\n", true),
            ("listen.yaml", "listen: 127.0.0.1:7071\nmemory: 1MiB\n", true),
            ("empty.yaml", "# streams:\n", false),
            ("mixed.yaml", "listen: 7071\nservices: {}\n", false),
            ("hosts.yaml", "hosts: all\ntasks: []\n", false),
            ("it's.yaml", "streams: {}\n", true),
            ("log.yaml", "- streams\n", false),
            ("other.yaml", "services: {}\n", false),
            ("broken.yaml", "streams: {\n", false),
            ("app.log", "streams: { a: { file: /x } }\n", false),
        ] {
            let path = home.path().join(name);
            fs::write(&path, text).unwrap();
            let error = from_paths(std::slice::from_ref(&path)).err().map(|error| error.to_string());
            let expected = is_configuration.then(|| {
                let (path, word) = (path.display(), shell_word(path.to_str().unwrap()));
                format!("{path}: is a configuration, not a log (did you mean `rtlogd serve --config {word}`?)")
            });
            assert_eq!(error, expected, "{name}");
        }
    }

    #[test]
    fn a_path_is_a_file_a_pattern_or_the_standard_input() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::write(path("[1].log"), "").unwrap();
        let file = |path: PathBuf| Ok(FileSelector::Path(path));
        let pattern = |name: &str| Ok(FileSelector::Pattern(path(name)));
        let table: [(PathBuf, Result<FileSelector, &str>, &str); 8] = [
            ("-".into(), file("/dev/stdin".into()), "stdin"),
            (path("-"), file(path("-")), "-"),
            (path("new.log"), file(path("new.log")), "new.log"),
            (path("[1].log"), file(path("[1].log")), "_1_.log"),
            (path("[2].log"), pattern("[2].log"), "_2_.log"),
            (path("*.log"), pattern("*.log"), "_.log"),
            (path("x/**/{a,b}?"), pattern("x/**/{a,b}?"), "_a_b__"),
            (path("a**"), Err("`**` stands for whole directories"), ""),
        ];
        for (path, selector, name) in table {
            let config = from_paths(std::slice::from_ref(&path));
            match selector {
                Ok(selector) => {
                    let stream = Stream::new(name.parse().unwrap(), SourceKind::File(FileSourceConfig::of(selector)));
                    assert_eq!(config.unwrap().streams, [stream]);
                }
                Err(why) => assert!(config.unwrap_err().to_string().contains(why), "{why}"),
            }
        }
    }

    #[test]
    fn a_program_names_its_stream() {
        for (path, name) in
            [("make", "make"), ("/usr/bin/g++", "g__"), ("./.run", "_run"), ("/", "_"), ("..", "_"), ("", "_")]
        {
            assert_eq!(stream_name_of(Path::new(path)).as_str(), name, "{path:?}");
        }
    }

    #[test]
    fn a_file_by_two_ways_is_one_stream_and_a_directory_is_none() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("a.log"), home.path().join("current.log"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let config = from_paths(&[link.clone(), file]).unwrap();
        let source = SourceKind::File(FileSourceConfig::new(link));
        assert_eq!(config.streams, [Stream::new("current.log".parse().unwrap(), source)]);
        let error = from_paths(&[home.path().to_owned()]).unwrap_err().to_string();
        let path = home.path().display();
        let expected =
            format!("{path}: is a directory (name the files in it, or write a pattern such as '{path}/*.log')");
        assert_eq!(error, expected);
        assert!(from_paths(&[PathBuf::new()]).is_err());
    }

    proptest! {
        #[test]
        fn names_are_all_different(paths in proptest::collection::vec("(/[a-b. é-]{1,3}){1,3}|/[a-b]{60,70}", 1..12)) {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            let names = names(&paths);
            prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), paths.len());
        }
    }
}
