//! The manual: its generated parts are what the program says, its pages render without warnings, and its examples work.
//!
//! The sources are `packaging/man/*.md`. What stands there between `<!-- generated: ... -->` and `<!-- end -->` is written by
//! `RTLOGD_GENERATE=1 cargo it manual::`. The examples of the pages, and of README.md, run in a [`sandbox`], exactly as printed.

mod browser;
mod complete;
mod examples;
mod generated;
mod proxies;
mod sandbox;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{skip, sources};

/// A page of the manual, or README.md.
#[derive(Debug)]
struct Page {
    /// The path of its file, below the root of the repository.
    path: String,
    text: String,
}

/// A fenced block of a page.
#[derive(Debug)]
struct Block {
    /// The position of its beginning, for messages.
    place: String,
    /// The heading above it.
    section: String,
    language: String,
    text: String,
}

impl Page {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(sources(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    /// Every page of the manual.
    fn manual() -> Vec<Self> {
        let folder = fs::read_dir(sources("packaging/man")).unwrap();
        let mut names: Vec<_> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.iter().map(|name| Self::read(&format!("packaging/man/{name}"))).collect()
    }

    /// Such as `rtlogd-http(7)`.
    fn title(&self) -> &str {
        self.text.lines().next().and_then(|line| line.strip_prefix("# ")).expect("the first line is the title")
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        let mut section = String::new();
        for (number, line) in (1..).zip(self.text.lines()) {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(language)) => {
                    let place = format!("{}:{number}", self.path);
                    let (section, language) = (section.clone(), language.to_owned());
                    open = Some(Block { place, section, language, text: String::new() });
                }
                (Some(_), Some("")) => blocks.extend(open.take()),
                (Some(block), _) => block.text.extend([line, "\n"]),
                (None, None) if line.starts_with('#') => line.clone_into(&mut section),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{open:?} has no end");
        blocks
    }
}

/// Returns whether there is such a program, and reports a skipped test if not.
fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().unwrap().status.success();
    if !found {
        skip(&format!("there is no {program}"));
    }
    found
}

#[test]
fn every_page_has_the_usual_sections() {
    let pages = Page::manual();
    let names: BTreeSet<_> = pages.iter().map(|page| page.title().to_owned()).collect();
    for page in &pages {
        let name = page.path.rsplit('/').next().unwrap().trim_end_matches(".md");
        let (name, section) = name.rsplit_once('.').unwrap();
        assert_eq!(page.title(), format!("{name}({section})"), "{}", page.path);
        let headings: Vec<_> = page.text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let wanted: &[&str] = match section {
            "1" => &["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"],
            _ => &["NAME", "DESCRIPTION", "SEE ALSO"],
        };
        for heading in wanted.iter().filter(|heading| !(name == "rtlogd" && **heading == "OPTIONS")) {
            assert!(headings.contains(heading), "{} has no section {heading}: {headings:?}", page.path);
        }
        // The line that `apropos` finds.
        let about = page.text.lines().skip_while(|line| *line != "## NAME").nth(2).unwrap();
        assert!(about.starts_with(&format!("{name} - ")), "{}: {about}", page.path);
        // Links lead to pages that exist.
        for link in page.text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let file = link.split('#').next().unwrap();
            if Path::new(file).extension().is_some_and(|extension| extension == "md") {
                let path = sources("packaging/man").join(file);
                assert!(path.exists(), "{} links to {link}", page.path);
            }
        }
    }
    for section_seven in ["rtlogd-http(7)", "rtlogd-security(7)", "rtlogd-operation(7)", "rtlogd.yaml(5)"] {
        assert!(names.contains(section_seven), "{names:?}");
    }
}

#[test]
fn every_page_renders_without_warnings() {
    if !has("pandoc") || !has("man") || !has("mandoc") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new(sources("packaging/manual")).arg(directory.path()).output().unwrap();
    assert!(made.status.success() && made.stderr.is_empty(), "{}", String::from_utf8_lossy(&made.stderr));
    let pages: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(pages.len(), Page::manual().len());
    for page in pages {
        let mut man = Command::new("man");
        man.args(["--warnings", "--local-file"]).arg(&page).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
        let shown = man.output().unwrap();
        let said = String::from_utf8_lossy(&shown.stderr);
        assert!(shown.status.success() && said.is_empty(), "{}: {said}", page.display());
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(text.contains("SEE ALSO"), "{}: {text}", page.display());
        // Only code can be too wide; but what the program prints is as it is.
        let printed: BTreeSet<_> = Page::manual().iter().flat_map(examples::output).collect();
        let is_wide = |line: &&str| line.chars().count() > 80 && !printed.contains(line.trim());
        let wide: Vec<_> = text.lines().filter(is_wide).collect();
        assert!(wide.is_empty(), "{} is wider than a terminal: {wide:#?}", page.display());
        let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page).output().unwrap();
        assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
    }
}
