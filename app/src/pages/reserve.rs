//! Reserving ahead: a timeline on which one chooses, a form that holds what was chosen, and the next free times.
//! The address holds the view and the choice.

use api::machines::{Booking, Machine};
#[cfg(feature = "ssr")]
use api::reservations::NewReservation;
use domain::events::EventKind;
#[cfg(feature = "ssr")]
use domain::interval::Interval;
use jiff::civil::Date;
#[cfg(feature = "ssr")]
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use leptos::prelude::*;
use leptos::server::ServerActionError;
use leptos::server_fn::ServerFn as _;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};
use serde::{Deserialize, Serialize};

use super::reserve_form::ReserveForm;
use crate::Failure;
use crate::clock::use_now;
use crate::components::empty::Empty;
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::follow;
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading};
use crate::components::tags::query_part;
use crate::components::time::{Ago, Time, at, input_value, weekday_and_day};
use crate::components::timeline::{Block, BlockKind, Picked, Row, Timeline};
use crate::functions::Data;
use crate::live::use_live;
#[cfg(feature = "ssr")]
use crate::preferences::Zone;
use crate::preferences::use_preferences;
use crate::viewer::use_viewer;

domain::words! {
    /// How the time is shown.
    pub enum View ("view") {
        Day = "day",
        Week = "week",
        List = "list",
    }
}

/// What the timeline is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    view: View,
    /// The first day, local; today if not given.
    #[serde(deserialize_with = "api::times::read_option")]
    on: Option<Date>,
    labels: Option<String>,
    q: Option<String>,
}

/// The window's machines and what is booked on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    #[serde(deserialize_with = "api::times::read")]
    on: Date,
    #[serde(deserialize_with = "api::times::read")]
    today: Date,
    #[serde(deserialize_with = "api::times::read")]
    from: Timestamp,
    #[serde(deserialize_with = "api::times::read")]
    to: Timestamp,
    machines: Vec<Machine>,
    bookings: Vec<Booking>,
    /// There are more machines than are shown.
    more: bool,
}

#[server(prefix = "/fn", endpoint = "reserve-window", input = leptos::server_fn::codec::Json)]
async fn get_window(wanted: Wanted) -> Result<Window, Failure> {
    use services::Error;
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let zone = crate::preferences::from_request().zone;
    let today = zone.local(services.clock().now()).date();
    let on = wanted.on.unwrap_or(today);
    let days: i64 = match wanted.view {
        View::Day => 1,
        View::Week | View::List => 7,
    };
    let last = on.checked_add(SignedDuration::from_hours(24 * days)).ok();
    let edges = zone.timestamp(on.at(0, 0, 0, 0)).zip(last.and_then(|last| zone.timestamp(last.at(0, 0, 0, 0))));
    let between = edges.and_then(|(from, to)| Interval::new(from, to).ok());
    let between = between.ok_or_else(|| refuse(Error::invalid("on", "there is no such day")))?;
    let labels = wanted.labels.unwrap_or_default().parse();
    let labels = labels.map_err(|bad: domain::labels::BadLabels| refuse(Error::invalid("labels", bad.to_string())))?;
    let ask = services::machines::ListAsk {
        labels,
        q: wanted.q,
        page: services::page::PageAsk { limit: Some(200), cursor: None },
        ..services::machines::ListAsk::default()
    };
    let machines = services::machines::list(&services, &call, &ask).await.map_err(refuse)?;
    let ids: Vec<_> = machines.items.iter().map(|live| live.machine.id).collect();
    let bookings = if ids.is_empty() {
        vec![]
    } else {
        services::machines::timeline(&services, &call, &ids, between).await.map_err(refuse)?
    };
    Ok(Window {
        on,
        today,
        from: between.start(),
        to: between.end(),
        more: machines.next_cursor.is_some(),
        machines: machines.items.into_iter().map(|live| Machine::new(live, &call.actor)).collect(),
        bookings: bookings.into_iter().map(Booking::from).collect(),
    })
}

/// A machine and its next free stretch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextFree {
    pub machine: String,
    #[serde(deserialize_with = "api::times::read")]
    pub start: Timestamp,
}

/// The machines that are free first for `hours`.
#[server(prefix = "/fn", endpoint = "reserve-next-free", input = leptos::server_fn::codec::Json)]
pub async fn find_free(labels: Option<String>, hours: u32) -> Result<(Vec<NextFree>, Option<String>), Failure> {
    use services::Error;
    let (services, call) = crate::server::asked()?;
    let labels = labels.unwrap_or_default().parse();
    let labels = labels
        .map_err(|bad: domain::labels::BadLabels| crate::server::failure(Error::invalid("labels", bad.to_string())))?;
    let length = SignedDuration::from_hours(i64::from(hours));
    let found = services::machines::free(&services, &call, &labels, length).await.map_err(crate::server::failure)?;
    let first = found
        .machines
        .into_iter()
        .take(4)
        .filter_map(|free| Some(NextFree { start: free.slots.first()?.start(), machine: free.machine.name }));
    Ok((first.collect(), found.why_none))
}

#[cfg(feature = "ssr")]
pub(super) async fn change(
    services: &services::Services,
    call: &services::Call,
    reservation: uuid::Uuid,
    change: api::reservations::ReservationChange,
) -> Result<(), Failure> {
    let refuse = crate::server::failure;
    let ask = services::reservations::ChangeAsk::try_from(change).map_err(refuse)?;
    let changed = services::reservations::change(services, call, reservation.into(), &ask, None).await;
    changed.map(|_| ()).map_err(refuse)
}

/// What sessions of the booking start from, as the form has it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvironmentFields {
    image: Option<String>,
    setup: Option<String>,
}

/// What the form of a booking holds; times as the clock on the wall shows them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Typed {
    pub machine: Option<String>,
    pub labels: Option<String>,
    pub count: Option<u32>,
    pub start: Option<String>,
    pub end: String,
    pub purpose: Option<String>,
    pub image: Option<String>,
    pub setup: Option<String>,
}

/// The form's name where what was typed into it is kept.
#[cfg(feature = "ssr")]
const FORM: &str = "reserve";

/// Books what the form says; its times are of the clock on the wall in `zone`.
#[server(prefix = "/fn", endpoint = "reservations-create")]
pub async fn reserve(
    machine: Option<String>,
    labels: Option<String>,
    count: Option<u32>,
    start: Option<String>,
    end: String,
    zone: String,
    #[server(default)] environment: EnvironmentFields,
    purpose: Option<String>,
) -> Result<(), Failure> {
    let typed =
        Typed { machine, labels, count, start, end, purpose, image: environment.image, setup: environment.setup };
    let made = match book(&typed, &zone).await {
        Ok(made) => made,
        Err(refused) => {
            crate::server::keep_typed(FORM, &typed).await;
            return Err(refused);
        }
    };
    match made.sessions.as_slice() {
        [only] => leptos_axum::redirect(&format!("/sessions/{}", only.id)),
        _ => leptos_axum::redirect("/sessions"),
    }
    Ok(())
}

#[cfg(feature = "ssr")]
async fn book(typed: &Typed, zone: &str) -> Result<api::reservations::Reservation, Failure> {
    use services::Error;
    let refuse = |field, why: &str| crate::server::failure(Error::invalid(field, why));
    let given =
        |text: &Option<String>| text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let services = expect_context::<services::Services>();
    let zone =
        Zone::named(zone, services.clock().now()).ok_or_else(|| refuse("zone", "nobody knows this time zone"))?;
    let time = |field, text: &str| {
        let local = text.parse::<DateTime>().map_err(|_| refuse(field, "give a day and a time"))?;
        let at = zone.timestamp(local).ok_or_else(|| refuse(field, "there is no such time"))?;
        Ok::<_, Failure>(at.to_string())
    };
    let (machine, labels) = (given(&typed.machine), given(&typed.labels));
    super::book::create(NewReservation {
        count: labels.as_ref().and(typed.count).filter(|_| machine.is_none()),
        labels: labels.filter(|_| machine.is_none()).map(api::reservations::LabelsAsk::Text),
        machine,
        start: given(&typed.start).map(|start| time("start", &start)).transpose()?,
        end: Some(time("end", &typed.end)?),
        environment: Some(api::reservations::Environment {
            image: given(&typed.image),
            setup: given(&typed.setup),
            setup_timeout_s: None,
        }),
        purpose: given(&typed.purpose),
        ..NewReservation::default()
    })
    .await
}

/// What was typed into the form that was refused just now.
#[server(prefix = "/fn", endpoint = "reserve-typed", input = leptos::server_fn::codec::Json)]
async fn typed_before() -> Result<Option<Typed>, Failure> {
    Ok(crate::server::typed(FORM).await)
}

/// Machines and their bookings as the timeline draws them.
pub(super) fn rows(machines: Vec<Machine>, bookings: &[Booking], me: &str) -> Vec<Row> {
    let block = |booking: &Booking| {
        Some(Block {
            start: at(&booking.start)?,
            end: at(&booking.end)?,
            label: booking.person.clone(),
            href: Some(format!("/sessions/{}", booking.session)),
            kind: if booking.person == me { BlockKind::Own } else { BlockKind::Others },
        })
    };
    let row = |machine: Machine| Row {
        href: format!("/machines/{}", machine.id),
        blocks: bookings.iter().filter(|booking| booking.machine_id == machine.id).filter_map(block).collect(),
        name: machine.name,
    };
    machines.into_iter().map(row).collect()
}

#[component]
pub fn Reserve() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::Session, EventKind::Reservation, EventKind::Machine]);
    let given = move |name: &str| query.with(|query| query.get(name).filter(|text| !text.is_empty()));
    let wanted = Memo::new(move |_| Wanted {
        view: given("view").and_then(|view| view.parse().ok()).unwrap_or(View::Day),
        on: given("on").and_then(|on| on.parse().ok()),
        labels: given("labels"),
        q: given("q"),
    });
    let chosen = Memo::new(move |_| Typed {
        machine: given("machine"),
        start: given("start"),
        end: given("end").unwrap_or_default(),
        labels: given("labels"),
        ..Typed::default()
    });
    // A form that the browser sent by itself and that was refused comes back as it was.
    let refused = use_context::<ServerActionError>().is_some_and(|refused| refused.path() == Reserve::PATH);
    let before = refused.then(|| Data::new(|| TypedBefore {}, || 0));
    let shown = Data::new(move || GetWindow { wanted: wanted.get() }, move || live.get());
    let free = Data::new(
        move || FindFree { labels: wanted.with(|wanted| wanted.labels.clone()), hours: 4 },
        move || live.get(),
    );
    let zone = StoredValue::new(use_preferences().zone);
    let navigate = StoredValue::new(use_navigate());
    let pick = Callback::new(move |picked: Picked| {
        let local = |at| zone.with_value(|zone| input_value(zone, at));
        let address = format!(
            "{}&machine={}&start={}&end={}",
            address(&wanted.get_untracked()),
            query_part(&picked.name),
            query_part(&local(picked.start)),
            query_part(&local(picked.end)),
        );
        navigate.with_value(|navigate| {
            navigate(&address, NavigateOptions { scroll: false, replace: true, ..Default::default() })
        });
        if let Some(button) = document().get_element_by_id("reserve-submit") {
            use wasm_bindgen::JsCast as _;
            if button.unchecked_ref::<web_sys::HtmlElement>().focus().is_err() {
                leptos::logging::warn!("the form takes no focus");
            }
        }
    });
    view! {
        <Page title="Reserve" wide=true lede="Drag over free time, click its start and its end, or fill in the form.">
            <div class="with-aside">
                <div class="column">
                    {follow(shown, move |shown| view! { <Shown shown wanted pick/> }.into_any())}
                </div>
                <aside class="column wide-gap">
                    <section class="card" aria-labelledby="book">
                        <h2 id="book">"Booking"</h2>
                        {match before {
                            None => view! { {move || view! { <ReserveForm typed=chosen.get()/> }} }.into_any(),
                            Some(before) => follow(before, move |before| view! { <FormBefore before chosen/> }.into_any()),
                        }}
                    </section>
                    <section class="card" aria-labelledby="next-free">
                        <h2 id="next-free">"Next free 4 h"</h2>
                        {follow(free, move |free| view! { <Free free wanted/> }.into_any())}
                    </section>
                </aside>
            </div>
        </Page>
    }
}

/// The form as it was typed, until another choice is made.
#[component]
fn FormBefore(before: Signal<Option<Typed>>, chosen: Memo<Typed>) -> impl IntoView {
    let first = chosen.get_untracked();
    move || {
        let now = chosen.get();
        let typed = if now == first { before.get_untracked().unwrap_or(now) } else { now };
        view! { <ReserveForm typed/> }
    }
}

/// The address of this view, to which the choice is added.
fn address(wanted: &Wanted) -> String {
    let mut address = format!("/reserve?view={}", wanted.view.word());
    let rest = [("on", wanted.on.map(|on| on.to_string())), ("labels", wanted.labels.clone()), ("q", wanted.q.clone())];
    for (name, value) in rest {
        if let Some(value) = value {
            address.push_str(&format!("&{name}={}", query_part(&value)));
        }
    }
    address
}

#[component]
fn Free(free: Signal<(Vec<NextFree>, Option<String>)>, wanted: Memo<Wanted>) -> impl IntoView {
    let zone = StoredValue::new(use_preferences().zone);
    let now = use_now();
    move || {
        let (free, why_none) = free.get();
        let links = free.into_iter().map(|free| {
            let local = |at: Timestamp| zone.with_value(|zone| input_value(zone, at));
            let end = free.start.saturating_add(SignedDuration::from_hours(4)).unwrap_or(free.start);
            // What is free since a while is free now.
            let passed = Memo::new(move |_| now.get().is_some_and(|now| free.start <= now));
            let href = format!(
                "{}&machine={}&start={}&end={}",
                address(&wanted.get()), query_part(&free.machine), query_part(&local(free.start)), query_part(&local(end)),
            );
            view! { <li><a class="button block between" href=href><span>{free.machine}</span>{move || if passed.get() { "now".into_any() } else { view! { <Ago at=free.start/> }.into_any() }}</a></li> }
        });
        view! {
            <ul class="column" role="list">{links.collect_view()}</ul>
            {why_none.map(|why| view! { <p class="soft">{why}</p> })}
        }
    }
}

#[component]
fn Shown(shown: Signal<Window>, wanted: Memo<Wanted>, pick: Callback<Picked>) -> impl IntoView {
    let me = StoredValue::new(use_viewer().map(|viewer| viewer.name).unwrap_or_default());
    let bar = Memo::new(move |_| shown.with(|shown| (shown.on, shown.today)));
    view! {
        {move || { let (on, today) = bar.get(); view! { <Bar wanted=wanted.get() on today/> } }}
        {move || {
            let Window { from, to, machines, bookings, more, .. } = shown.get();
            if machines.is_empty() {
                return view! {
                    <Empty icon="machines" title="No machine fits">
                        <p>"No machine has these labels and this name, or no host offers machines yet."</p>
                        <a class="button" href="/reserve">"Show all machines"</a>
                    </Empty>
                }.into_any();
            }
            let more = more.then(|| view! { <p class="soft">"The first 200 machines are shown: filter by labels for others."</p> });
            match wanted.with(|wanted| wanted.view) {
                View::Day | View::Week => {
                    let rows = me.with_value(|me| rows(machines, &bookings, me));
                    view! { <Timeline from to rows on_pick=pick/>{more} }.into_any()
                }
                View::List => view! { <List machines bookings/>{more} }.into_any(),
            }
        }}
    }
}

#[component]
fn Bar(wanted: Wanted, on: Date, today: Date) -> impl IntoView {
    let step: i64 = if wanted.view == View::Day { 1 } else { 7 };
    let to = |view: View, on: Option<Date>| address(&Wanted { view, on, ..wanted.clone() });
    let moved = |days: i64| on.checked_add(SignedDuration::from_hours(24 * days)).unwrap_or(on);
    let views = View::ALL
        .iter()
        .map(|view| {
            let current = (*view == wanted.view).then_some("page");
            let word = match view {
                View::Day => "Day",
                View::Week => "Week",
                View::List => "List",
            };
            view! { <a class="button small" href=to(*view, wanted.on) aria-current=current>{word}</a> }
        })
        .collect_view();
    let (what, days) = match wanted.view {
        View::Day => ("day", weekday_and_day(on)),
        View::Week | View::List => ("week", format!("{} to {}", weekday_and_day(on), weekday_and_day(moved(6)))),
    };
    view! {
        <div class="toolbar">
            <nav class="button-group" aria-label="View">{views}</nav>
            <nav class="button-group" aria-label="Time">
                <a class="button small square" href=to(wanted.view, Some(moved(-step))) aria-label=format!("One {what} earlier")><Icon name="chevron-left"/></a>
                <a class="button small" href=to(wanted.view, None) aria-current=(on == today).then_some("date")>"Today"</a>
                <a class="button small square" href=to(wanted.view, Some(moved(step))) aria-label=format!("One {what} later")><Icon name="chevron-right"/></a>
            </nav>
            <strong>{days}</strong>
            <span class="grow"></span>
            <form class="toolbar" method="get" action="/reserve">
                <input type="hidden" name="view" value=wanted.view.word()/>
                <input class="input compact" type="date" name="on" aria-label="Day" value=on.to_string()/>
                <input class="input compact mono" name="labels" aria-label="Labels" placeholder="os=debian12" value=wanted.labels.clone().unwrap_or_default()/>
                <button class="button small" type="submit">"Show"</button>
            </form>
        </div>
    }
}

/// What the timeline says, for small screens and screen readers.
#[component]
fn List(machines: Vec<Machine>, mut bookings: Vec<Booking>) -> impl IntoView {
    // By start as they come; what is over after what runs and what comes.
    bookings.sort_by_key(|booking| booking.state.is_final());
    if bookings.is_empty() {
        return view! {
            <Empty icon="timeline" title="Nothing is booked in these days">
                <p>"Every machine here is free. Choose one of the next free times, or fill in the form."</p>
            </Empty>
        }
        .into_any();
    }
    let name_of = |booking: &Booking| {
        machines
            .iter()
            .find(|machine| machine.id == booking.machine_id)
            .map(|machine| machine.name.clone())
            .unwrap_or_default()
    };
    let rows = bookings.iter().map(|booking| view! {
        <tr>
            <th scope="row"><a class="main-link" href=format!("/machines/{}", booking.machine_id)>{name_of(booking)}</a></th>
            <td data-label="From">{at(&booking.start).map(|at| view! { <Time at/> })}</td>
            <td data-label="Until">{at(&booking.end).map(|at| view! { <Time at/> })}</td>
            <td data-label="Who">{booking.person.clone()}</td>
            <td data-label="State"><a href=format!("/sessions/{}", booking.session)><Status badge=booking.state/></a></td>
        </tr>
    }).collect_view();
    let headings = vec![
        Heading::text("Machine"),
        Heading::text("From"),
        Heading::text("Until"),
        Heading::text("Who"),
        Heading::text("State"),
    ];
    view! { <DataTable caption="Bookings" headings>{rows}</DataTable> }.into_any()
}
