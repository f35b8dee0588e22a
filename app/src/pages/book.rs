//! Booking a machine for now: open the menu, choose how long.

#[cfg(feature = "ssr")]
use api::reservations::NewReservation;
use leptos::prelude::*;

use crate::Failure;
use crate::components::icon::Icon;
use crate::components::load::failure_of;

/// How long one books for now with one click.
const LENGTHS: [(u64, &str); 4] = [(3_600, "1 hour"), (7_200, "2 hours"), (14_400, "4 hours"), (28_800, "8 hours")];

/// Books `machine` from now on and leads to the session.
#[server(prefix = "/fn", endpoint = "reservations-book-now")]
pub async fn book_now(machine: String, duration_s: u64) -> Result<(), Failure> {
    let ask = NewReservation { machine: Some(machine), duration_s: Some(duration_s), ..NewReservation::default() };
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

/// A button that opens the choice of lengths; the second click books. `id` is unique on the page.
#[component]
pub fn BookNow(#[prop(into)] machine: String, #[prop(into)] id: String) -> impl IntoView {
    let booking = ServerAction::<BookNow>::new();
    let menu = format!("book-{id}");
    let label = format!("Book {machine} now");
    let choices = LENGTHS.map(|(seconds, word)| view! {
        <button type="submit" name="duration_s" value=seconds.to_string() disabled=move || booking.pending().get()>{word}</button>
    });
    view! {
        <button type="button" class="button small primary" popovertarget=menu.clone() aria-label=label.clone()>
            "Book now"<Icon name="chevron-down"/>
        </button>
        <div class="popover-menu" id=menu popover="auto" role="dialog" aria-label=label.clone()>
            <ActionForm action=booking>
                <input type="hidden" name="machine" value=machine.clone()/>
                <div class="menu-items">
                    <div class="menu-note">{machine.clone()}", from now, for"</div>
                    {choices.collect_view()}
                </div>
            </ActionForm>
            {failure_of(move || booking.value().get())}
        </div>
    }
}
