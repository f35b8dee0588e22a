//! Theme and time zone: two cookies that the server reads, so that nothing flashes or shifts after the page is there.

use jiff::tz::Offset;
use jiff::{Timestamp, civil};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) const THEME_COOKIE: &str = "berth-theme";
pub(crate) const ZONE_COOKIE: &str = "berth-zone";
/// A year, in seconds.
const COOKIE_AGE_S: u32 = 31_536_000;

domain::words! {
    /// Dark, light, or as the system has it.
    pub enum Theme ("theme") {
        Auto = "auto",
        Light = "light",
        Dark = "dark",
    }
}

/// A time zone as far as pages need it: its offsets over some years. The browser gets it with the document and so
/// needs no zone database, and both halves print the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// IANA's name, `Europe/Berlin`.
    pub name: String,
    /// In order; the first holds for all time before the second.
    changes: Vec<Change>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    from_s: i64,
    offset_s: i32,
    abbreviation: String,
}

impl Default for Zone {
    fn default() -> Self {
        let utc = Change { from_s: i64::MIN, offset_s: 0, abbreviation: "UTC".to_owned() };
        Zone { name: "UTC".to_owned(), changes: vec![utc] }
    }
}

impl Zone {
    /// Two years back and two ahead of `now`; `None` if nobody knows a zone of this name.
    #[cfg(feature = "ssr")]
    pub fn named(name: &str, now: Timestamp) -> Option<Zone> {
        let zone = jiff::tz::TimeZone::get(name).ok()?;
        let reach = jiff::SignedDuration::from_hours(24 * 365 * 2);
        let (start, end) = (now.checked_sub(reach).ok()?, now.checked_add(reach).ok()?);
        let first = zone.to_offset_info(start);
        let mut changes = vec![Change {
            from_s: i64::MIN,
            offset_s: first.offset().seconds(),
            abbreviation: first.abbreviation().to_owned(),
        }];
        changes.extend(zone.following(start).take_while(|change| change.timestamp() < end).map(|change| Change {
            from_s: change.timestamp().as_second(),
            offset_s: change.offset().seconds(),
            abbreviation: change.abbreviation().to_owned(),
        }));
        Some(Zone { name: name.to_owned(), changes })
    }

    fn change_at(&self, at: Timestamp) -> Option<&Change> {
        let second = at.as_second();
        self.changes.iter().rev().find(|change| change.from_s <= second)
    }

    fn offset_at(&self, at: Timestamp) -> Offset {
        let offset = self.change_at(at).and_then(|change| Offset::from_seconds(change.offset_s).ok());
        offset.unwrap_or(Offset::UTC)
    }

    /// `CET`, or `UTC`.
    pub fn abbreviation(&self, at: Timestamp) -> String {
        self.change_at(at).map_or_else(|| "UTC".to_owned(), |change| change.abbreviation.clone())
    }

    /// What the clock on the wall shows.
    pub fn local(&self, at: Timestamp) -> civil::DateTime {
        self.offset_at(at).to_datetime(at)
    }

    /// The time at which the clock on the wall shows this; of two (the hour that is lived twice) the first, and in the
    /// hour that is skipped the offset before it holds.
    pub fn timestamp(&self, local: civil::DateTime) -> Option<Timestamp> {
        let mut candidates: Vec<Timestamp> = self
            .changes
            .iter()
            .filter_map(|change| Offset::from_seconds(change.offset_s).ok()?.to_timestamp(local).ok())
            .collect();
        candidates.sort();
        candidates.dedup();
        let exact = candidates.iter().copied().find(|candidate| self.local(*candidate) == local);
        exact.or_else(|| candidates.last().copied())
    }
}

/// What the document was made with.
#[derive(Debug, Clone)]
pub struct Preferences {
    pub theme: RwSignal<Theme>,
    pub zone: Zone,
}

/// The preferences of this page.
pub fn use_preferences() -> Preferences {
    use_context().unwrap_or_else(|| Preferences { theme: RwSignal::new(Theme::Auto), zone: Zone::default() })
}

/// From the request's cookies.
#[cfg(feature = "ssr")]
pub(crate) fn from_request() -> Preferences {
    let parts = use_context::<http::request::Parts>();
    let cookie = |name: &str| -> Option<String> {
        let headers = parts.as_ref()?.headers.get_all(http::header::COOKIE);
        let mut pairs = headers.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
        pairs.find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then(|| value.replace("%2F", "/"))
        })
    };
    let theme = cookie(THEME_COOKIE).and_then(|word| word.parse().ok()).unwrap_or(Theme::Auto);
    #[allow(clippy::disallowed_methods, reason = "which offset a zone has today; no rule and no state hangs on it")]
    let zone = cookie(ZONE_COOKIE).and_then(|name| Zone::named(&name, Timestamp::now())).unwrap_or_default();
    Preferences { theme: RwSignal::new(theme), zone }
}

/// From the document that the server made.
pub(crate) fn from_document() -> Preferences {
    let attribute = |name: &str| document().document_element().and_then(|root| root.get_attribute(name));
    let theme = attribute("data-theme").and_then(|word| word.parse().ok()).unwrap_or(Theme::Auto);
    let zone = attribute("data-zone").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Preferences { theme: RwSignal::new(theme), zone }
}

/// Chooses the theme without JavaScript; with it, [`apply_theme`] does the same at once.
#[server(prefix = "/fn", endpoint = "choose-theme")]
pub async fn choose_theme(theme: Theme) -> Result<(), crate::Failure> {
    let response = expect_context::<leptos_axum::ResponseOptions>();
    if let Ok(value) = http::HeaderValue::from_str(&cookie(THEME_COOKIE, theme.word())) {
        response.append_header(http::header::SET_COOKIE, value);
    }
    Ok(())
}

/// Chooses the time zone of every page from the next document on.
#[server(prefix = "/fn", endpoint = "choose-zone")]
pub async fn choose_zone(zone: String) -> Result<(), crate::Failure> {
    let services = expect_context::<services::Services>();
    let zone = zone.trim();
    if Zone::named(zone, services.clock().now()).is_none() {
        let unknown =
            services::Error::invalid("zone", "nobody knows a zone of this name; write one such as Europe/Berlin");
        return Err(crate::server::failure(unknown));
    }
    let response = expect_context::<leptos_axum::ResponseOptions>();
    if let Ok(value) = http::HeaderValue::from_str(&cookie(ZONE_COOKIE, zone)) {
        response.append_header(http::header::SET_COOKIE, value);
    }
    Ok(())
}

fn cookie(name: &str, value: &str) -> String {
    format!("{name}={value}; Path=/; Max-Age={COOKIE_AGE_S}; SameSite=Lax")
}

fn set_cookie(name: &str, value: &str) {
    let set = js_sys::Reflect::set(&document(), &"cookie".into(), &cookie(name, value).into());
    if set.is_err() {
        leptos::logging::warn!("the browser keeps no cookies: {name} is lost on the next page");
    }
}

/// In the browser: shows the theme and remembers it.
pub(crate) fn apply_theme(theme: Theme) {
    set_cookie(THEME_COOKIE, theme.word());
    if let Some(root) = document().document_element()
        && root.set_attribute("data-theme", theme.word()).is_err()
    {
        leptos::logging::warn!("the theme could not be set");
    }
}

fn knows_zone() -> bool {
    let known = js_sys::Reflect::get(&document(), &"cookie".into()).ok().and_then(|cookies| cookies.as_string());
    known.is_some_and(|cookies| cookies.contains(ZONE_COOKIE))
}

/// In the browser: tells the server the browser's own zone, if it has none yet. A document that shows times is asked for
/// once more, as only the server knows zones.
pub(crate) fn remember_zone(shows_times: bool) {
    if knows_zone() {
        return;
    }
    let options = js_sys::Intl::DateTimeFormat::default().resolved_options();
    let zone = js_sys::Reflect::get(&options, &"timeZone".into()).ok().and_then(|zone| zone.as_string());
    let Some(zone) = zone else { return };
    set_cookie(ZONE_COOKIE, &zone);
    let other = use_preferences().zone.name != zone;
    // A browser that keeps no cookies would be asked for ever.
    if shows_times && other && knows_zone() && location().reload().is_err() {
        leptos::logging::warn!("times are in the browser's zone from the next page on");
    }
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    fn check(at: &str, local: &str, abbreviation: &str) {
        let at: Timestamp = at.parse().unwrap();
        let zone = Zone::named("Europe/Berlin", "2026-06-01T00:00:00Z".parse().unwrap()).unwrap();
        let local: civil::DateTime = local.parse().unwrap();
        assert_eq!((zone.local(at), zone.abbreviation(at).as_str()), (local, abbreviation));
        assert_eq!(zone.timestamp(local), Some(at));
    }

    #[test]
    fn wall_clock_follows_daylight_saving() {
        check("2026-01-15T12:00:00Z", "2026-01-15T13:00:00", "CET");
        check("2026-07-15T12:00:00Z", "2026-07-15T14:00:00", "CEST");
        check("2026-10-25T00:59:59Z", "2026-10-25T02:59:59", "CEST");
        check("2026-10-25T02:00:00Z", "2026-10-25T03:00:00", "CET");
    }

    #[test]
    fn the_hour_lived_twice_is_the_first_and_the_skipped_one_moves_on() {
        let zone = Zone::named("Europe/Berlin", "2026-06-01T00:00:00Z".parse().unwrap()).unwrap();
        let twice = "2026-10-25T02:30:00".parse().unwrap();
        assert_eq!(zone.timestamp(twice), Some("2026-10-25T00:30:00Z".parse().unwrap()));
        let skipped = "2026-03-29T02:30:00".parse().unwrap();
        assert_eq!(zone.timestamp(skipped), Some("2026-03-29T01:30:00Z".parse().unwrap()));
    }

    #[test]
    fn an_unknown_zone_is_none() {
        assert_eq!(Zone::named("Middle/Earth", Timestamp::UNIX_EPOCH), None);
    }
}
