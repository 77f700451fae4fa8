//! Durations in words.

/// A duration in at most two units: `0.3s`, `12s`, `3m 12s`, `2h 5m`, `4d 3h`. Tenths are shown below ten seconds; a duration
/// that still grows is better without them. The page has the same rule (`progress.js`).
pub(crate) fn duration_words(seconds: f64) -> String {
    if (0.0..10.0).contains(&seconds) {
        return format!("{}s", (seconds * 10.0).round() / 10.0);
    }
    let seconds = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_worded_as_on_the_page() {
        let table: Vec<(f64, String)> =
            serde_json::from_str(include_str!("../../tests/clients/page/durations.json")).unwrap();
        for (seconds, words) in table {
            assert_eq!(duration_words(seconds), words, "{seconds}");
        }
        assert_eq!(duration_words(f64::NAN), "0s");
    }
}
