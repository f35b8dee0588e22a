//! Booking a machine for now: open the menu, choose how long.

#[cfg(feature = "ssr")]
use api::reservations::NewReservation;
use domain::reservations::MIN_LENGTH;
use jiff::{SignedDuration, Timestamp};
use leptos::prelude::*;

use crate::Failure;
use crate::clock::use_now;
use crate::components::icon::Icon;
use crate::components::load::failure_of;
use crate::components::time::{absolute, at, clock, length};
use crate::functions::{Submission, SubmitForm};
use crate::preferences::{Zone, use_preferences};

/// How many hours one books for now with one click.
const HOURS: [(i64, &str); 4] = [(1, "1 hour"), (2, "2 hours"), (4, "4 hours"), (8, "8 hours")];
const MOST: SignedDuration = SignedDuration::from_hours(8);

/// Books `machine` from now on, for so long or until then, and leads to the session.
#[server(prefix = "/fn", endpoint = "reservations-book-now")]
pub async fn book_now(machine: String, duration_s: Option<u64>, end: Option<String>) -> Result<(), Failure> {
    let ask = NewReservation { machine: Some(machine), duration_s, end, ..NewReservation::default() };
    let reservation = create(ask).await?;
    let address = match reservation.sessions.first() {
        Some(session) => format!("/sessions/{}", session.id),
        None => "/sessions".to_owned(),
    };
    leptos_axum::redirect(&address);
    Ok(())
}

/// Makes a reservation as it was asked.
#[cfg(feature = "ssr")]
pub(super) async fn create(ask: NewReservation) -> Result<api::reservations::Reservation, Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = services::reservations::Ask::try_from(ask).map_err(crate::server::failure)?;
    let made = services::reservations::create(&services, &call, &ask).await.map_err(crate::server::failure)?;
    Ok(api::reservations::Reservation::new(made, &call.actor, services.clock().now()))
}

/// One button of the menu: what it sends, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    name: &'static str,
    value: String,
    word: String,
}

/// What fits before the next booking: lengths, and all the time until then where that is less than the longest.
fn choices(zone: &Zone, now: Option<Timestamp>, next: Option<Timestamp>) -> Vec<Choice> {
    let left = next.zip(now).map(|(next, now)| next.duration_since(now));
    let lengths = HOURS
        .into_iter()
        .map(|(hours, word)| (SignedDuration::from_hours(hours), word))
        .filter(|(length, _)| left.is_none_or(|left| *length <= left))
        .map(|(length, word)| Choice {
            name: "duration_s",
            value: length.as_secs().to_string(),
            word: word.to_owned(),
        });
    let rest = next.zip(left).filter(|(_, left)| MIN_LENGTH < *left && *left < MOST).map(|(next, left)| Choice {
        name: "end",
        value: next.to_string(),
        word: format!("until {} ({})", clock(zone.local(next)), length(left)),
    });
    lengths.chain(rest).collect()
}

/// A button that opens the choice of lengths; the second click books. `id` is unique on the page, `next` is when the next
/// booking of the machine begins.
#[component]
pub fn BookNow(
    #[prop(into)] machine: String,
    #[prop(into)] id: String,
    #[prop(optional_no_strip)] next: Option<String>,
) -> impl IntoView {
    let booking = Submission::<BookNow>::new();
    let menu = format!("book-{id}");
    let label = format!("Book {machine} now");
    let zone = use_preferences().zone;
    let now = use_now();
    let next = next.as_deref().and_then(at);
    let free = next.map_or_else(
        || "nothing is booked after".to_owned(),
        |next| format!("free until {}", absolute(&zone, next, false)),
    );
    let fitting = Memo::new(move |_| choices(&zone, now.get(), next));
    let buttons = move || {
        fitting
            .get()
            .into_iter()
            .map(|Choice { name, value, word }| {
                view! { <button type="submit" name=name value=value disabled=move || booking.pending().get()>{word}</button> }
            })
            .collect_view()
    };
    view! {
        <button type="button" class="button small primary" popovertarget=menu.clone() aria-label=label.clone()>
            "Book now"<Icon name="chevron-down"/>
        </button>
        <div class="popover-menu" id=menu popover="auto" role="dialog" aria-label=label.clone()>
            <SubmitForm to=booking>
                <input type="hidden" name="machine" value=machine.clone()/>
                <div class="menu-items">
                    <div class="menu-note"><strong>{machine.clone()}</strong>" from now for"</div>
                    {buttons}
                    <p class="menu-note" hidden=move || !fitting.with(Vec::is_empty)>"The next booking is about to begin."</p>
                    <div class="menu-note">{free}</div>
                </div>
            </SubmitForm>
            {failure_of(move || booking.failure())}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(next: Option<&str>) -> Vec<String> {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = Some(at("2026-06-01T10:00:00Z"));
        choices(&Zone::default(), now, next.map(at)).into_iter().map(|choice| choice.word).collect()
    }

    #[test]
    fn only_what_fits_is_offered() {
        assert_eq!(words(None), ["1 hour", "2 hours", "4 hours", "8 hours"]);
        assert_eq!(words(Some("2026-06-01T13:20:00Z")), ["1 hour", "2 hours", "until 13:20 (3 h 20 min)"]);
        assert_eq!(words(Some("2026-06-01T10:45:00Z")), ["until 10:45 (45 min)"]);
        assert_eq!(words(Some("2026-06-01T18:00:00Z")), ["1 hour", "2 hours", "4 hours", "8 hours"]);
        assert_eq!(words(Some("2026-06-01T10:00:30Z")), Vec::<String>::new());
    }
}
