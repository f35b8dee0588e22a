//! Times: always `<time datetime>`, in the viewer's zone.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::{SignedDuration, Timestamp};
use leptos::prelude::*;

use crate::clock::use_now;
use crate::preferences::{Zone, use_preferences};

/// `2026-11-21 14:05`, with the zone in its title. `seconds` adds them.
#[component]
pub fn Time(at: Timestamp, #[prop(optional)] seconds: bool) -> impl IntoView {
    let zone = use_preferences().zone;
    view! { <time datetime=at.to_string() title=full(&zone, at)>{absolute(&zone, at, seconds)}</time> }
}

/// What the server says in words, in which times stand as RFC 3339 in UTC: each in the viewer's zone.
#[component]
pub fn Prose(#[prop(into)] text: String) -> impl IntoView {
    local_times(&use_preferences().zone, &text)
}

/// `4 min ago`, `in 2 h`; the absolute time is in the title.
#[component]
pub fn Ago(at: Timestamp) -> impl IntoView {
    let zone = use_preferences().zone;
    let title = full(&zone, at);
    let now = use_now();
    let text = Memo::new(move |_| match now.get() {
        Some(now) => relative(at.duration_since(now)),
        None => absolute(&zone, at, false),
    });
    view! { <time datetime=at.to_string() title=title>{move || text.get()}</time> }
}

/// How long from `from`, counting while it goes on: `12 s`, `1 h 5 min`; what is over in less than a second in `ms`, in
/// less than ten with a decimal.
/// Without `to`, until now.
#[component]
pub fn Elapsed(from: Timestamp, to: Option<Timestamp>) -> impl IntoView {
    let now = use_now();
    let text = Memo::new(move |_| match (to.map(|to| to.duration_since(from)), now.get()) {
        (Some(took), _) if took < SignedDuration::from_secs(1) => format!("{} ms", took.as_millis().max(0)),
        (Some(took), _) if took < SignedDuration::from_secs(10) => format!("{:.1} s", took.as_secs_f64()),
        (Some(took), _) => length(took),
        (None, Some(now)) => length(now.duration_since(from)),
        (None, None) => String::new(),
    });
    view! { <span class="num">{move || text.get()}</span> }
}

/// A time of the API (RFC 3339); `None` if it is none.
pub fn at(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// `2026-11-21 14:05`.
pub fn absolute(zone: &Zone, at: Timestamp, seconds: bool) -> String {
    let local = zone.local(at);
    let minutes = format!("{} {}", day(local.date()), clock(local));
    if seconds { format!("{minutes}:{:02}", local.second()) } else { minutes }
}

/// `2026-11-21`. Written here and not with jiff's own formats, whose printer alone is a hundredth of what browsers fetch.
pub fn day(date: Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
}

/// `14:05`.
pub fn clock(local: DateTime) -> String {
    format!("{:02}:{:02}", local.hour(), local.minute())
}

/// `2026-11-21T14:05`, as an `<input type="datetime-local">` holds it.
pub fn input_value(zone: &Zone, at: Timestamp) -> String {
    let local = zone.local(at);
    format!("{}T{}", day(local.date()), clock(local))
}

/// `Sat`.
pub fn weekday(date: Date) -> &'static str {
    match date.weekday() {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    }
}

/// `Sat 2026-11-21`.
pub fn weekday_and_day(date: Date) -> String {
    format!("{} {}", weekday(date), day(date))
}

fn local_times(zone: &Zone, text: &str) -> String {
    let of_a_time = |letter: char| letter.is_ascii_digit() || matches!(letter, 'T' | 'Z' | ':' | '-' | '.');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(from) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let (before, word) = rest.split_at(from);
        let (word, after) = word.split_at(word.find(|letter| !of_a_time(letter)).unwrap_or(word.len()));
        // What follows the zone's letter is the sentence's.
        let (time, end) = word.split_at(word.rfind('Z').map_or(word.len(), |zone| zone + 1));
        out.push_str(before);
        match at(time) {
            Some(at) => out.push_str(&absolute(zone, at, false)),
            None => out.push_str(time),
        }
        out.push_str(end);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn full(zone: &Zone, at: Timestamp) -> String {
    let weekday = weekday(zone.local(at).date());
    format!("{weekday} {} {} ({})", absolute(zone, at, true), zone.abbreviation(at), zone.name)
}

/// A length in at most two units: `850 ms` is `0 s`, then `12 s`, `5 min`, `1 h 5 min`, `3 d 4 h`.
pub fn length(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        small => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        86_400.. => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// `now`, `4 min ago`, `in 2 h`: from now to the time; in one unit.
pub fn relative(to: SignedDuration) -> String {
    let seconds = to.as_secs().unsigned_abs();
    let text = match seconds {
        0..5 => return "now".to_owned(),
        5..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        172_800.. => format!("{} days", seconds / 86_400),
    };
    if to.is_negative() { format!("{text} ago") } else { format!("in {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_jiff_writes_them() {
        let check = |text: &str| {
            let at: Timestamp = text.parse().unwrap();
            let (zone, local) = (Zone::default(), Zone::default().local(at));
            let date = local.date();
            let as_jiff = |format| local.strftime(format).to_string();
            assert_eq!(absolute(&zone, at, true), as_jiff("%Y-%m-%d %H:%M:%S"));
            assert_eq!(absolute(&zone, at, false), as_jiff("%Y-%m-%d %H:%M"));
            assert_eq!(input_value(&zone, at), as_jiff("%Y-%m-%dT%H:%M"));
            assert_eq!(full(&zone, at), as_jiff("%a %Y-%m-%d %H:%M:%S UTC (UTC)"));
            assert_eq!(weekday_and_day(date), as_jiff("%a %Y-%m-%d"));
        };
        for day in 1..=28 {
            check(&format!("2026-{:02}-{day:02}T0{}:05:09Z", day % 12 + 1, day % 10));
        }
        check("0999-12-31T23:59:59Z");
    }

    #[test]
    fn lengths_have_at_most_two_units() {
        let check = |seconds, text: &str| assert_eq!(length(SignedDuration::from_secs(seconds)), text);
        check(0, "0 s");
        check(59, "59 s");
        check(60, "1 min");
        check(3_600, "1 h");
        check(3_900, "1 h 5 min");
        check(97_200, "1 d 3 h");
    }

    #[test]
    fn times_in_a_sentence_are_the_viewers() {
        let change = serde_json::json!({ "from_s": i64::MIN, "offset_s": 3_600, "abbreviation": "CET" });
        let zone = serde_json::json!({ "name": "Europe/Berlin", "changes": [change] });
        let zone: Zone = serde_json::from_value(zone).expect("a zone");
        let check = |text: &str, expected: &str| assert_eq!(local_times(&zone, text), expected);
        check("from 2026-11-21T10:55:24.745Z to 2026-11-21T11:55:00Z.", "from 2026-11-21 11:55 to 2026-11-21 12:55.");
        check("host-1/slot-2 at 10:55, 3 of 4; 2026-11-21", "host-1/slot-2 at 10:55, 3 of 4; 2026-11-21");
        check("", "");
    }

    #[test]
    fn relative_times_say_which_way() {
        let check = |seconds, text: &str| assert_eq!(relative(SignedDuration::from_secs(seconds)), text);
        check(-4, "now");
        check(-240, "4 min ago");
        check(7_200, "in 2 h");
        check(-200_000, "2 days ago");
    }
}
