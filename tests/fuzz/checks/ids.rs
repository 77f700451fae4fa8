//! Ids and names: each has one spelling, and reads back from it.

use std::ffi::OsStr;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use rtlogd::config::units;
use rtlogd::event::{Epoch, Level, Origin, Position, StreamName, Time};

use super::choices;

/// A text, and the numbers that its first bytes are.
pub fn ids(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        one_spelling::<Position>(text);
        one_spelling::<Epoch>(text);
        one_spelling::<StreamName>(text);
        if let Ok(level) = text.parse::<Level>() {
            assert_eq!(level.to_string().parse(), Ok(level), "{text:?}");
        }
        let quoted = serde_json::to_string(text).expect("a text is JSON");
        let json = serde_json::from_str::<Position>(&quoted).ok();
        assert_eq!(json, text.parse().ok(), "{text:?} in JSON is another id");
        if let Ok(span) = units::parse_duration(text) {
            assert_eq!(units::parse_duration(&units::DurationText(span).to_string()), Ok(span), "{text:?}");
        }
        if let Ok(size) = units::parse_size(text) {
            assert_eq!(units::parse_size(&units::Size(size).to_string()), Ok(size), "{text:?}");
        }
    }

    let ([salted, numbers @ ..], path) = choices::<21>(data);
    let (millis, numbers) = choices::<8>(&numbers);
    let (number, salt) = choices::<8>(numbers);
    let (millis, number) = (u64::from_le_bytes(millis), u64::from_le_bytes(number));
    let salt = u32::from_le_bytes(choices(salt).0);
    let epoch = if salted & 1 == 0 { Epoch::persistent(millis) } else { Epoch::ephemeral(millis, salt) };
    let id = Position { epoch, number };
    assert_eq!(id.to_string().parse(), Ok(id), "{id:?} reads back as another id");
    // Digits suffice until the year 5188.
    if epoch.millis() < 36u64.pow(9) - 1 {
        let next = epoch.successor(number % epoch.millis().max(1));
        assert!(next > epoch, "{next} does not come after {epoch}");
    }

    let time = Time(number.cast_signed());
    let shown = time.to_string();
    assert!(shown.ends_with('Z') && shown.parse::<jiff::Timestamp>().is_ok(), "{time:?} is shown as {shown}");

    let path = Path::new(OsStr::from_bytes(path));
    let origin = Origin::file(path);
    assert_eq!(origin.path(), path, "{origin:?}");
}

/// Checks that a text which is read as a `T` is written the same again.
fn one_spelling<T: FromStr + Display>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        assert_eq!(read.to_string(), text, "another spelling");
    }
}
