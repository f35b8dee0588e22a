//! Times for people: relative and in their own zone. In JSON they stay as the server sent them (RFC 3339, UTC).

use jiff::{SignedDuration, Timestamp, ToSpan, Zoned, civil, tz::TimeZone};

/// Now, by this computer's clock: for showing "in 5 min" and for "14:00". What counts is the server's clock.
#[allow(clippy::disallowed_methods, reason = "a command line has no injected clock; this is its one place")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A text that is no time or length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTime {
    #[error("'{0}' is no length of time: use 45m, 2h, 1h30m or 3d")]
    Length(String),
    #[error("'{0}' is no time: use 14:00, '2026-01-31 14:00', 2026-01-31T14:00Z or +30m")]
    Time(String),
}

/// `90s`, `45m`, `2h`, `1h30m`, `3d`, `1w`: whole numbers with units, added up; more than nothing.
pub fn length(text: &str) -> Result<SignedDuration, BadTime> {
    let bad = || BadTime::Length(text.chars().take(40).collect());
    let mut total = SignedDuration::ZERO;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let number: i64 = number.parse().map_err(|_| bad())?;
        let unit_s = match unit {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return Err(bad()),
        };
        let part = number.checked_mul(unit_s).ok_or_else(bad)?;
        total = total.checked_add(SignedDuration::from_secs(part)).ok_or_else(bad)?;
        rest = next.trim_start();
    }
    if total.is_zero() { Err(bad()) } else { Ok(total) }
}

/// A moment, seen from `now`: `now`, `+30m`, RFC 3339, a date with a time in the zone of `now`, or a time of day, which
/// means the next such time.
pub fn moment(text: &str, now: &Zoned) -> Result<Timestamp, BadTime> {
    let text = text.trim();
    let bad = || BadTime::Time(text.chars().take(40).collect());
    if text == "now" {
        return Ok(now.timestamp());
    }
    if let Some(after) = text.strip_prefix('+') {
        return now.timestamp().checked_add(length(after)?).map_err(|_| bad());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // A time parses out of a whole date as well: the date goes first.
    if let Ok(civil) = text.parse::<civil::DateTime>() {
        return Ok(civil.to_zoned(now.time_zone().clone()).map_err(|_| bad())?.timestamp());
    }
    let time: civil::Time = text.parse().map_err(|_| bad())?;
    let today = now.date().to_datetime(time).to_zoned(now.time_zone().clone()).map_err(|_| bad())?;
    if today > *now {
        return Ok(today.timestamp());
    }
    let tomorrow = now.date().checked_add(1.day()).map_err(|_| bad())?;
    Ok(tomorrow.to_datetime(time).to_zoned(now.time_zone().clone()).map_err(|_| bad())?.timestamp())
}

/// `in 2 h 5 min`, `3 min ago`, `now`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let by = at.duration_since(now);
    let text = spell(by.abs());
    if by.abs() < SignedDuration::from_secs(1) {
        "now".to_owned()
    } else if by.is_positive() {
        format!("in {text}")
    } else {
        format!("{text} ago")
    }
}

/// A length of time in its two largest units: `2 h 5 min`.
pub fn spell(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let two = |first: i64, unit: &str, second: i64, second_unit: &str| {
        if second == 0 { format!("{first} {unit}") } else { format!("{first} {unit} {second} {second_unit}") }
    };
    if days > 0 {
        two(days, "d", hours, "h")
    } else if hours > 0 {
        two(hours, "h", minutes, "min")
    } else if minutes > 0 {
        format!("{minutes} min")
    } else {
        format!("{} s", seconds % 60)
    }
}

/// A date and time in the zone of `now`: the time alone if it is today.
pub fn local(at: Timestamp, now: &Zoned) -> String {
    let at = at.to_zoned(now.time_zone().clone());
    let format = if at.date() == now.date() {
        "%H:%M"
    } else if at.date().year() == now.date().year() {
        "%a %d %b %H:%M"
    } else {
        "%Y-%m-%d %H:%M"
    };
    at.strftime(format).to_string()
}

/// Now in this computer's zone.
pub fn here() -> Zoned {
    now().to_zoned(TimeZone::system())
}

/// An RFC 3339 text from the server in local time; unchanged if it is none.
pub fn local_text(at: &str) -> String {
    at.parse().map_or_else(|_| at.to_owned(), |at: Timestamp| local(at, &here()))
}

/// An RFC 3339 text from the server as `in 5 min`; unchanged if it is none.
pub fn relative_text(at: &str) -> String {
    at.parse().map_or_else(|_| at.to_owned(), |at: Timestamp| relative(at, now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse::<Zoned>().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn lengths() {
        let check =
            |text: &str, seconds: i64| assert_eq!(length(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        check("90s", 90);
        check("45m", 2_700);
        check("2h", 7_200);
        check("1h30m", 5_400);
        check("1h 30min", 5_400);
        check("3d", 259_200);
        for text in ["", "2", "h", "0h", "-1h", "1.5h", "2 hours", "99999999999999999999h", "9999999999999999w"] {
            assert!(length(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_in_the_persons_zone() {
        let now = at("2026-03-10T13:30:00+01:00[Europe/Berlin]");
        let check = |text: &str, expected: &str| {
            assert_eq!(moment(text, &now).map(|at| at.to_string()), Ok(expected.to_owned()), "{text}");
        };
        check("now", "2026-03-10T12:30:00Z");
        check("+2h", "2026-03-10T14:30:00Z");
        check("14:00", "2026-03-10T13:00:00Z");
        check("09:00", "2026-03-11T08:00:00Z");
        check("2026-04-01 09:00", "2026-04-01T07:00:00Z");
        check("2026-04-01T09:00", "2026-04-01T07:00:00Z");
        check("2026-04-01T09:00:00Z", "2026-04-01T09:00:00Z");
        for text in ["", "noon", "25:00", "+", "2026-13-01 09:00"] {
            assert!(moment(text, &now).is_err(), "{text}");
        }
    }

    #[test]
    fn relative_times() {
        let now = at("2026-03-10T13:30:00+01:00[Europe/Berlin]").timestamp();
        let check = |seconds: i64, expected: &str| {
            assert_eq!(relative(now + SignedDuration::from_secs(seconds), now), expected);
        };
        check(0, "now");
        check(59, "in 59 s");
        check(-60, "1 min ago");
        check(7_500, "in 2 h 5 min");
        check(-90_000, "1 d 1 h ago");
    }

    #[test]
    fn local_times_are_as_short_as_they_can_be() {
        let now = at("2026-03-10T13:30:00+01:00[Europe/Berlin]");
        let check = |text: &str, expected: &str| {
            assert_eq!(local(text.parse().unwrap_or(Timestamp::UNIX_EPOCH), &now), expected);
        };
        check("2026-03-10T20:05:00Z", "21:05");
        check("2026-03-11T20:05:00Z", "Wed 11 Mar 21:05");
        check("2027-03-11T20:05:00Z", "2027-03-11 21:05");
    }
}
