//! The commands by which programs tell a build service what a line is.

use crate::event::Level;

use super::level_word::from_word;

/// Returns whether the text begins with a command for the log of a build service.
pub(super) fn is_annotation(text: &[u8]) -> bool {
    text.starts_with(b"::") || text.starts_with(b"##vso[") || text.starts_with(b"##teamcity[")
}

/// The level of a command for the log of GitHub Actions, Azure Pipelines or `TeamCity`.
pub(super) fn level(text: &[u8]) -> Option<Level> {
    if let Some(command) = text.strip_prefix(b"::") {
        let length = command.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        let (word, rest) = command.split_at(length);
        let is_level = matches!(word, b"error" | b"warning" | b"notice" | b"debug");
        return from_word(word).filter(|_| is_level && (rest.starts_with(b" ") || rest.starts_with(b"::")));
    }
    let has = |part: &[u8]| memchr::memmem::find(text, part).is_some();
    if text.starts_with(b"##vso[task.logissue") {
        return if has(b"type=error") { Some(Level::Error) } else { has(b"type=warning").then_some(Level::Warning) };
    }
    let is_failure = ["##teamcity[buildProblem", "##teamcity[testFailed", "##vso[task.complete result=Failed"];
    if is_failure.iter().any(|failure| text.starts_with(failure.as_bytes())) {
        return Some(Level::Error);
    }
    if !text.starts_with(b"##teamcity[message") {
        return None;
    }
    if has(b"status='ERROR'") || has(b"status='FAILURE'") {
        Some(Level::Error)
    } else {
        has(b"status='WARNING'").then_some(Level::Warning)
    }
}
