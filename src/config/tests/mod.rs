//! Tests of a whole configuration, from its text to the checked types: `accepted` has what a configuration may say,
//! `mistakes` what it may not and where each mistake is reported, `shipped` the files of the package and any text at
//! all.

mod accepted;
mod mistakes;
mod shipped;

use super::load::build;
use super::report::{Document, ErrorReport};
use super::{Config, ConfigErrors, FileSourceConfig, ReadFrom, SourceKind, Stream};

/// The configuration of these texts as `rtlogd check` judges it, read as files `0.yaml`, `1.yaml` and so on in `/etc`.
pub(super) fn config(texts: &[&str]) -> Result<Config, ConfigErrors> {
    let document = |(index, text): (usize, &&str)| Document {
        path: format!("/etc/{index}.yaml").into(),
        text: (*text).to_owned(),
    };
    let documents: Vec<Document> = texts.iter().enumerate().map(document).collect();
    let mut report = ErrorReport::default();
    let config = build(&documents, &mut report);
    report.tolerate_nothing();
    report.finish(&documents).map(|()| config)
}

/// All mistakes of one file, without the name of the file.
pub(super) fn mistakes(text: &str) -> Vec<String> {
    let error = config(&[text]).expect_err(text).to_string();
    error.replace("/etc/0.yaml:", "").lines().map(str::to_owned).collect()
}

pub(in crate::config) fn file(name: &str, path: &str, from: ReadFrom) -> Stream {
    let source = FileSourceConfig { from, ..FileSourceConfig::new(path.into()) };
    Stream::new(name.parse().unwrap(), SourceKind::File(source))
}
