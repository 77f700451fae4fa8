//! Programs that announce the number of their steps once, or count what they do without saying how much there is.

use std::sync::LazyLock;

use regex::Regex;

use crate::event::ProgressState;

use super::Recogniser;
use super::report::{ObservedLine, ProgressReport, words};

/// Matches the end of one step of a program that announced the number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    Terraform,
    Poetry,
}

/// The steps of the current program.
#[derive(Debug, Default)]
pub(super) struct StepsRecogniser {
    announced: Option<(Announced, u64)>,
    done: u64,
}

static POETRY_REGEX: LazyLock<Regex> = LazyLock::new(|| {
    let shape = r"^Package operations: (?P<a>[0-9]+) installs?, (?P<b>[0-9]+) updates?, (?P<c>[0-9]+) removals?";
    Regex::new(shape).expect("it is an expression")
});
static TERRAFORM_REGEX: LazyLock<Regex> = LazyLock::new(|| {
    let shape =
        r"^Plan: (?:[0-9]+ to import, )?(?P<a>[0-9]+) to add, (?P<b>[0-9]+) to change, (?P<c>[0-9]+) to destroy";
    Regex::new(shape).expect("it is an expression")
});
static VITEST_REGEX: LazyLock<Regex> = LazyLock::new(|| {
    let shape = r"^ *Test Files +(?:([0-9]+) failed)?(?: \| )?(?:([0-9]+) passed)?(?: \| )?(?:([0-9]+) skipped)? *\(([0-9]+)\)$";
    Regex::new(shape).expect("it is an expression")
});
static PNPM_REGEX: LazyLock<Regex> = LazyLock::new(|| {
    let shape = r"^Progress: resolved ([0-9]+), reused ([0-9]+), downloaded ([0-9]+), added ([0-9]+)(, done)?$";
    Regex::new(shape).expect("it is an expression")
});

impl Recogniser for StepsRecogniser {
    fn recognise(&mut self, seen: &ObservedLine<'_>) -> Option<ProgressReport> {
        let text = seen.text.trim();
        if let Some(report) = live(text, seen.open) {
            return Some(report);
        }
        if seen.open {
            return None;
        }
        match text.bytes().next()? {
            b'P' if text.starts_with("Plan: ") => self.announce(Announced::Terraform, &TERRAFORM_REGEX, text),
            b'P' if text.starts_with("Package operations: ") => self.announce(Announced::Poetry, &POETRY_REGEX, text),
            b'P' if text.starts_with("PLAY RECAP") => Some(indeterminate("ansible", Some("Recap"), None)),
            b'T' if text.starts_with("TASK [") => {
                let name = text.strip_prefix("TASK [")?.rsplit_once(']')?.0;
                Some(indeterminate("ansible", Some(name), None))
            }
            b'A' if text.starts_with("Apply complete!") => Some(self.end("terraform")),
            b't' => tar(text),
            _ => self.step(text),
        }
    }

    fn wants_all(&self) -> bool {
        self.announced.is_some()
    }
}

impl StepsRecogniser {
    /// The number of steps is the sum of the numbers `a`, `b` and `c`.
    fn announce(&mut self, program: Announced, regex: &Regex, text: &str) -> Option<ProgressReport> {
        let found = regex.captures(text)?;
        let total = ["a", "b", "c"].iter().map(|name| found[*name].parse::<u64>().unwrap_or(u64::MAX));
        let total = total.fold(0, u64::saturating_add);
        self.done = 0;
        self.announced = (1..u64::MAX).contains(&total).then_some((program, total));
        self.report(None)
    }

    fn report(&self, message: Option<&str>) -> Option<ProgressReport> {
        let (program, total) = self.announced?;
        let tool = match program {
            Announced::Terraform => "terraform",
            Announced::Poetry => "poetry",
        };
        let message = message.and_then(words);
        let report = ProgressReport {
            current: Some(self.done),
            total: Some(total),
            message,
            tool,
            out_of_order: true,
            ..ProgressReport::default()
        };
        report.checked()
    }

    /// A line that ends a step.
    fn step(&mut self, text: &str) -> Option<ProgressReport> {
        let (program, total) = self.announced?;
        let message = match program {
            Announced::Terraform => {
                let end = [": Creation complete", ": Modifications complete", ": Destruction complete"];
                let at = end.iter().find_map(|end| text.find(end))?;
                text.get(..at)?
            }
            Announced::Poetry => {
                let rest = text.strip_prefix("- ").or_else(|| text.strip_prefix("• "))?;
                ["Installing ", "Updating ", "Removing ", "Downgrading "]
                    .iter()
                    .find(|word| rest.starts_with(**word))?;
                // Parallel installations first name each package, and then say more about it.
                if rest.contains("): ") {
                    return None;
                }
                rest
            }
        };
        self.done = (self.done + 1).min(total);
        let report = self.report(Some(message));
        if self.done == total && program == Announced::Poetry {
            self.announced = None;
        }
        report
    }

    fn end(&mut self, tool: &'static str) -> ProgressReport {
        self.announced = None;
        let state = ProgressReport::of_state(ProgressState::Done);
        ProgressReport { needs_prior_progress: true, tool, ..state }
    }
}

/// The programs that redraw a summary, or repeat it.
fn live(text: &str, open: bool) -> Option<ProgressReport> {
    if text.starts_with("Progress: resolved ") {
        let found = PNPM_REGEX.captures(text)?;
        if found.get(5).is_some() {
            let state = ProgressReport::of_state(ProgressState::Done);
            return Some(ProgressReport { needs_prior_progress: true, tool: "pnpm", ..state });
        }
        let current = found[2].parse::<u64>().ok()?.checked_add(found[3].parse().ok()?);
        return Some(ProgressReport { current, ..indeterminate("pnpm", None, Some(text)) });
    }
    if open && text.starts_with("Test Files") && text.ends_with(')') {
        let found = VITEST_REGEX.captures(text)?;
        let number = |at| found.get(at).and_then(|text| text.as_str().parse::<u64>().ok());
        let current = (1..=3).filter_map(number).fold(0, u64::saturating_add);
        let report = ProgressReport {
            current: Some(current),
            total: number(4),
            tool: "vitest",
            is_summary: true,
            out_of_order: true,
            scope: super::report::Scope::Whole,
            ..ProgressReport::default()
        };
        return report.checked();
    }
    // curl and brew, if the length is not known: "#=#=#", "-=O=-".
    let is_bouncing =
        open && text.len() >= 3 && text.contains('=') && text.bytes().all(|byte| b"#=O- ".contains(&byte));
    (is_bouncing && text.contains(['#', 'O'])).then(|| indeterminate("curl", None, None))
}

/// GNU tar with `--checkpoint`: "tar: Read checkpoint 1000".
fn tar(text: &str) -> Option<ProgressReport> {
    let rest = text.strip_prefix("tar: ")?;
    let (verb, number) = rest.split_once(" checkpoint ")?;
    let current = number.split_whitespace().next()?.parse().ok()?;
    matches!(verb, "Read" | "Write")
        .then(|| ProgressReport { current: Some(current), ..indeterminate("tar", None, None) })
}

fn indeterminate(tool: &'static str, phase: Option<&str>, message: Option<&str>) -> ProgressReport {
    let state = ProgressReport::of_state(ProgressState::Indeterminate);
    ProgressReport { tool, phase: phase.and_then(words), message: message.and_then(words), ..state }
}
