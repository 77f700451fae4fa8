//! Finds, reads and merges the files of a configuration. No other file of this layer opens files.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::report::{ConfigErrors, Document, ErrorReport};
use super::{Config, check, raw};
use crate::config::parse::yaml::{YamlNode, YamlValue};
use crate::config::parse::{deserializer, yaml};

/// The longest configuration file, in bytes. Ten thousand streams fit; a longer file was probably named by mistake.
const MAX_CONFIG_FILE_SIZE: u64 = 1 << 20;

/// The configuration of the file at `path` and of `conf.d/*.yaml` and `*.yml` next to it, in the order of their names.
///
/// The streams of all files are merged. Of any other top-level key, the last file that has it applies, as a whole.
/// Paths in a file are relative to its directory.
///
/// # Errors
/// If there are mistakes in any of the files; the error contains all of them.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let (config, report, documents) = read(path);
    report.finish(&documents).map(|()| config)
}

/// The configuration as [`load`] reads it. Mistakes that keep only their own stream from working are errors, too, such as a
/// directory in the place of a file.
///
/// # Errors
/// As for [`load`].
pub fn load_strictly(path: &Path) -> Result<Config, ConfigErrors> {
    let (config, mut report, documents) = read(path);
    report.tolerate_nothing();
    report.finish(&documents).map(|()| config)
}

/// The configuration, which is only valid without a mistake, the mistakes, and the files.
fn read(path: &Path) -> (Config, ErrorReport, Vec<Document>) {
    let mut report = ErrorReport::default();
    let mut documents = Vec::new();
    let mut files = vec![path.to_owned()];
    files.extend(conf_d_files(path, &mut report));
    for path in files {
        // A file that cannot be read is treated as an empty one, so that the mistakes of the others are reported, too.
        let text = text(&path).unwrap_or_else(|(location, why)| {
            report.file(&path, location, why);
            String::new()
        });
        documents.push(Document { path, text });
    }
    let mut config = build(&documents, &mut report);
    config.files = documents.iter().map(|document| absolute(&document.path)).collect();
    (config, report, documents)
}

/// The configuration of `documents`; only valid if the report stays empty.
pub(super) fn build(documents: &[Document], report: &mut ErrorReport) -> Config {
    let mut whole = raw::Config::default();
    for (index, document) in documents.iter().enumerate() {
        match yaml::parse(&document.text) {
            Ok(tree) if matches!(tree.value, YamlValue::Null) => {}
            Ok(tree) => whole = join(whole, deserializer::read(index, &tree, report).unwrap_or_default()),
            Err((location, why)) => report.file(&document.path, Some(location), why),
        }
    }
    let directory =
        |document: &Document| absolute(&document.path).parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    check::check(whole, documents.iter().map(directory).collect(), report)
}

/// Returns whether a file is a configuration of rtlogd, and not a log: a YAML file whose `streams` is a map, or one with
/// other keys of a configuration and no mistake.
pub fn is_configuration(path: &Path) -> bool {
    let Some(text) = Some(path).filter(|path| is_yaml(path)).and_then(|path| text(path).ok()) else { return false };
    let has_streams = |entries: &[(YamlNode, YamlNode)]| {
        entries.iter().any(|(key, value)| {
            matches!(&key.value, YamlValue::Text(key) if key == "streams") && matches!(value.value, YamlValue::Map(_))
        })
    };
    match yaml::parse(&text).map(|tree| tree.value) {
        Ok(YamlValue::Map(entries)) if has_streams(&entries) => true,
        Ok(YamlValue::Map(entries)) => {
            let mut report = ErrorReport::default();
            let documents = [Document { path: path.to_owned(), text }];
            build(&documents, &mut report);
            !entries.is_empty() && report.finish(&documents).is_ok()
        }
        Ok(
            YamlValue::Null
            | YamlValue::Bool(_)
            | YamlValue::Number(_)
            | YamlValue::Text(_)
            | YamlValue::List(_)
            | YamlValue::Tagged(_),
        )
        | Err(_) => false,
    }
}

/// Returns whether a file has the extension of a YAML file, in any case.
fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension: &OsStr| {
        extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml")
    })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The merged content of two files: the streams of both, and every other key from `second` if it has it.
fn join(first: raw::Config, second: raw::Config) -> raw::Config {
    let streams = match (first.streams, second.streams) {
        (Some(mut first), Some(second)) => {
            // Mistakes in either of them have been reported already.
            if let (Some(all), Some(more)) = (&mut first.value, second.value) {
                all.0.extend(more.0);
            }
            Some(first)
        }
        (first, second) => second.or(first),
    };
    raw::Config {
        listen: second.listen.or(first.listen),
        memory: second.memory.or(first.memory),
        state_directory: second.state_directory.or(first.state_directory),
        history: second.history.or(first.history),
        orphan_timeout: second.orphan_timeout.or(first.orphan_timeout),
        processes_at_stop: second.processes_at_stop.or(first.processes_at_stop),
        hosts: second.hosts.or(first.hosts),
        origins: second.origins.or(first.origins),
        trusted_proxies: second.trusted_proxies.or(first.trusted_proxies),
        base_path: second.base_path.or(first.base_path),
        tls: second.tls.or(first.tls),
        access: second.access.or(first.access),
        limits: second.limits.or(first.limits),
        streams,
    }
}

/// The YAML files in `conf.d` next to the main file, sorted by name. Their extension may be written in any case. Hidden
/// files are left out, since they belong to editors. Without that directory, the result is empty.
fn conf_d_files(main: &Path, report: &mut ErrorReport) -> Vec<PathBuf> {
    let directory = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let is_ours = |path: &PathBuf| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && is_yaml(path)
    };
    let entries = fs::read_dir(&directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut files: Vec<PathBuf> = match entries {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            report.file(&directory, None, format!("cannot be read: {error}"));
            Vec::new()
        }
    };
    files.retain(is_ours);
    files.sort();
    files
}

/// The text of a file, or the position and the reason of the failure to read it.
fn text(path: &Path) -> Result<String, (Option<(usize, usize)>, String)> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_CONFIG_FILE_SIZE + 1).read_to_end(&mut bytes));
    read.map_err(|error| (None, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_CONFIG_FILE_SIZE {
        return Err((None, format!("is longer than {MAX_CONFIG_FILE_SIZE} bytes (put streams into files in conf.d)")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or_default()).into_owned();
        let last = before.rsplit('\n').next().unwrap_or_default();
        let location = (before.matches('\n').count() + 1, last.chars().count() + 1);
        (Some(location), "is not UTF-8 from here (save it as UTF-8)".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ReadFrom;
    use crate::config::tests::file;

    #[test]
    fn a_directory_in_the_place_of_a_file_is_a_mistake_only_for_those_who_check() {
        let home = tempfile::tempdir().unwrap();
        let main = home.path().join("rtlogd.yaml");
        fs::write(&main, "streams: { a: { file: folder }, b: { file: b.log } }\n").unwrap();
        fs::create_dir(home.path().join("folder")).unwrap();
        assert_eq!(load(&main).unwrap().streams.len(), 2);
        let error = load_strictly(&main).unwrap_err().to_string();
        assert!(error.contains("rtlogd.yaml:1:23: ") && error.contains("/folder/ is a directory"), "{error}");
    }

    #[test]
    fn files_are_read_in_order_and_what_cannot_be_read_is_told() {
        let home = tempfile::tempdir().unwrap();
        let (main, parts) = (home.path().join("rtlogd.yaml"), home.path().join("conf.d"));
        let error = load(&main).unwrap_err().to_string();
        assert_eq!(error, format!("{}: cannot be read: No such file or directory (os error 2)", main.display()));
        fs::write(&main, "memory: 1MiB\n").unwrap();
        assert_eq!(load(&main).unwrap().memory, 1 << 20);
        fs::create_dir(&parts).unwrap();
        let a = "memory: 2MiB\nstreams: { x: { file: x.log } }\n";
        let ours =
            [("b.yaml", "memory: 2MiB\n"), ("a.yml", a), ("c.YML", "memory: 3MiB\n"), ("bb.Yaml", "memory: 9MiB\n")];
        let others = [".c.yaml", "c.yaml~", ".d.yml", "d.yml.bak", "yml", "e.yamlx", "README"].map(|name| (name, "["));
        for (name, text) in ours.into_iter().chain(others) {
            fs::write(parts.join(name), text).unwrap();
        }
        let config = load(&main).unwrap();
        let x = file("x", parts.join("x.log").to_str().unwrap(), ReadFrom::End);
        assert_eq!((config.memory, config.streams), (3 << 20, vec![x]));

        fs::write(&main, "memory: x\n").unwrap();
        fs::write(parts.join("c.yaml"), b"a: b\nx: \xc3\xa9\xff\n").unwrap();
        fs::write(parts.join("d.yaml"), vec![b'#'; 1 + (1 << 20)]).unwrap();
        fs::create_dir(parts.join("e.yaml")).unwrap();
        std::os::unix::fs::symlink("nowhere", parts.join("f.yaml")).unwrap();
        let error = load(&main).unwrap_err().to_string().replace(home.path().to_str().unwrap(), "");
        let expected = [
            "/rtlogd.yaml:1:9: not a size: \"x\" (a whole number and B, kB, MB, GB, KiB, MiB or GiB, such as 64KiB)",
            "/conf.d/c.yaml:2:5: is not UTF-8 from here (save it as UTF-8)",
            "/conf.d/d.yaml: is longer than 1048576 bytes (put streams into files in conf.d)",
            "/conf.d/e.yaml: cannot be read: Is a directory (os error 21)",
            "/conf.d/f.yaml: cannot be read: No such file or directory (os error 2)",
        ];
        assert_eq!(error.lines().collect::<Vec<_>>(), expected);
    }
}
