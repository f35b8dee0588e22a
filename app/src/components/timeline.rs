//! Machines as rows, time as columns, a line for now.

use jiff::{SignedDuration, Timestamp, ToSpan as _};
use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::HtmlElement;

use super::time::absolute;
use crate::clock::use_now;
use crate::preferences::{Zone, use_preferences};

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub href: String,
    pub blocks: Vec<Block>,
}

/// A booking on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub start: Timestamp,
    pub end: Timestamp,
    /// Who has it, or what for.
    pub label: String,
    /// Where Enter and a click lead; `None` for what the viewer may not open.
    pub href: Option<String>,
    pub kind: BlockKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    Own,
    Others,
    Maintenance,
}

/// `<Timeline from to rows/>`, of the visible window `[from, to)` only; bookings that reach beyond it are cut. It is one tab
/// stop: arrows move within, Enter opens. Offer the list beside it, for small screens and screen readers.
#[component]
pub fn Timeline(from: Timestamp, to: Timestamp, rows: Vec<Row>) -> impl IntoView {
    let zone = use_preferences().zone;
    let scale = Scale { from, to };
    let ticks = ticks(&zone, from, to);
    let now = use_now();
    let place =
        Memo::new(move |_| now.get().and_then(|now| scale.inside(now)).map(|share| format!("{:.2}%", share * 100.0)));
    let grid = NodeRef::<html::Div>::new();
    let keydown = move |event: leptos::ev::KeyboardEvent| {
        if let (Some(way), Some(grid)) = (Way::of(&event.key()), grid.get())
            && way.go(&grid)
        {
            event.prevent_default();
        }
    };
    let head = ticks.iter().map(|tick| {
        let style = format!("left:{:.3}%", scale.share(tick.at) * 100.0);
        view! { <span class=if tick.strong { "tick strong" } else { "tick" } style=style>{tick.text.clone()}</span> }
    });
    let lines = ticks
        .iter()
        .map(|tick| format!("{:.3}", scale.share(tick.at) * 1000.0))
        .map(|x| view! { <line x1=x.clone() x2=x y1="0" y2="1"></line> })
        .collect_view();
    let mut first = true;
    let body = rows
        .into_iter()
        .map(|row| {
            let blocks = row
                .blocks
                .into_iter()
                .filter(|block| block.start < to && block.end > from)
                .map(|block| {
                    let tab = if std::mem::take(&mut first) { "0" } else { "-1" };
                    block_view(block, &zone, scale, tab)
                })
                .collect_view();
            view! {
                <div class="timeline-row" role="row">
                    <span class="timeline-name" role="rowheader"><a href=row.href tabindex="-1">{row.name}</a></span>
                    <span class="timeline-track" role="gridcell">{blocks}</span>
                </div>
            }
        })
        .collect_view();
    view! {
        <div class="timeline" role="grid" aria-label=format!("Bookings, times in {}", zone.name) node_ref=grid on:keydown=keydown>
            <div class="timeline-row head" role="row">
                <span class="timeline-name" role="columnheader">{zone.name.clone()}</span>
                <span class="timeline-track" role="columnheader">{head.collect_view()}</span>
            </div>
            <div class="timeline-body" role="rowgroup">
                <svg class="timeline-lines" viewBox="0 0 1000 1" preserveAspectRatio="none" aria-hidden="true">{lines}</svg>
                {body}
                <span class="timeline-overlay" aria-hidden="true">
                    {move || place.get().map(|left| view! { <span class="timeline-now" style=format!("left:{left}")></span> })}
                </span>
            </div>
        </div>
    }
}

fn block_view(block: Block, zone: &Zone, scale: Scale, tab: &'static str) -> AnyView {
    let (left, right) = (scale.share(block.start), scale.share(block.end));
    let style = format!("left:{:.3}%;width:{:.3}%", left * 100.0, (right - left) * 100.0);
    let times = format!("{} to {}", absolute(zone, block.start, false), absolute(zone, block.end, false));
    let title = format!("{}, {times}", block.label);
    let class = match block.kind {
        BlockKind::Own => "block own",
        BlockKind::Others => "block",
        BlockKind::Maintenance => "block maintenance",
    };
    let label = block.label;
    match block.href {
        Some(href) => {
            view! { <a class=class style=style href=href tabindex=tab title=title.clone() aria-label=title data-block="">{label}</a> }.into_any()
        }
        None => {
            view! { <span class=class style=style tabindex=tab role="note" title=title.clone() aria-label=title data-block="">{label}</span> }.into_any()
        }
    }
}

#[derive(Clone, Copy)]
struct Scale {
    from: Timestamp,
    to: Timestamp,
}

impl Scale {
    /// 0 at the start, 1 at the end, no more and no less.
    fn share(self, at: Timestamp) -> f64 {
        let whole = self.to.duration_since(self.from).as_secs_f64();
        (at.duration_since(self.from).as_secs_f64() / whole).clamp(0.0, 1.0)
    }

    fn inside(self, at: Timestamp) -> Option<f64> {
        (self.from <= at && at < self.to).then(|| self.share(at))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Tick {
    at: Timestamp,
    text: String,
    /// The begin of a day among hours, of a week among days.
    strong: bool,
}

/// Hours for a window of up to two days, else days: by the clock on the wall, so also where a day has 23 hours.
fn ticks(zone: &Zone, from: Timestamp, to: Timestamp) -> Vec<Tick> {
    let hours = to.duration_since(from) <= SignedDuration::from_hours(48);
    let step_hours: i64 = match (hours, to.duration_since(from) <= SignedDuration::from_hours(26)) {
        (true, true) => 2,
        (true, false) => 4,
        (false, _) => 24,
    };
    let mut local = zone.local(from).date().at(0, 0, 0, 0);
    let mut found = Vec::new();
    // A window holds some dozens of ticks; the limit is against a window of years.
    while found.len() < 128 {
        let Some(at) = zone.timestamp(local).filter(|at| *at < to) else {
            break;
        };
        if at >= from && found.last().is_none_or(|last: &Tick| last.at < at) {
            let strong = if hours { local.hour() == 0 } else { local.date().weekday() == jiff::civil::Weekday::Monday };
            let text = if hours && local.hour() != 0 { local.strftime("%H:%M") } else { local.strftime("%a %d %b") };
            found.push(Tick { at, text: text.to_string(), strong });
        }
        let Ok(next) = local.checked_add(step_hours.hours()) else {
            break;
        };
        local = next;
    }
    found
}

/// An arrow key within the timeline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Left,
    Right,
    Up,
    Down,
}

impl Way {
    fn of(key: &str) -> Option<Way> {
        match key {
            "ArrowLeft" => Some(Way::Left),
            "ArrowRight" => Some(Way::Right),
            "ArrowUp" => Some(Way::Up),
            "ArrowDown" => Some(Way::Down),
            _ => None,
        }
    }

    /// Moves the focus to the nearest block that way; false if there is none.
    fn go(self, grid: &HtmlElement) -> bool {
        let Ok(list) = grid.query_selector_all("[data-block]") else {
            return false;
        };
        let blocks: Vec<HtmlElement> =
            (0..list.length()).filter_map(|index| list.get(index)?.dyn_into().ok()).collect();
        let active = document().active_element();
        let Some(current) = blocks.iter().find(|block| Some(block.unchecked_ref()) == active.as_ref()) else {
            return false;
        };
        let here = current.get_bounding_client_rect();
        let distance = |block: &HtmlElement| -> Option<f64> {
            let there = block.get_bounding_client_rect();
            let (across, down) = (there.left() - here.left(), there.top() - here.top());
            match self {
                Way::Left if down.abs() < 1.0 && across < 0.0 => Some(-across),
                Way::Right if down.abs() < 1.0 && across > 0.0 => Some(across),
                Way::Up if down < -1.0 => Some(-down * 10_000.0 + across.abs()),
                Way::Down if down > 1.0 => Some(down * 10_000.0 + across.abs()),
                Way::Left | Way::Right | Way::Up | Way::Down => None,
            }
        };
        let nearest = blocks
            .iter()
            .filter_map(|block| Some((distance(block)?, block)))
            .min_by(|(one, _), (other, _)| one.total_cmp(other));
        let Some((_, next)) = nearest else {
            return false;
        };
        current.set_tab_index(-1);
        next.set_tab_index(0);
        next.focus().is_ok()
    }
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn berlin() -> Zone {
        Zone::named("Europe/Berlin", at("2026-06-01T00:00:00Z")).unwrap()
    }

    #[test]
    fn a_week_has_a_tick_each_local_midnight_also_when_the_clock_changes() {
        let ticks = ticks(&berlin(), at("2026-10-22T22:00:00Z"), at("2026-10-29T23:00:00Z"));
        let texts: Vec<&str> = ticks.iter().map(|tick| tick.text.as_str()).collect();
        assert_eq!(
            texts,
            ["Fri 23 Oct", "Sat 24 Oct", "Sun 25 Oct", "Mon 26 Oct", "Tue 27 Oct", "Wed 28 Oct", "Thu 29 Oct"]
        );
        assert_eq!(ticks[3].at, at("2026-10-25T23:00:00Z"));
        assert!(ticks[3].strong && !ticks[2].strong);
    }

    #[test]
    fn a_day_has_hours() {
        let ticks = ticks(&berlin(), at("2026-06-01T22:00:00Z"), at("2026-06-02T22:00:00Z"));
        let texts: Vec<&str> = ticks.iter().map(|tick| tick.text.as_str()).collect();
        assert_eq!(texts[..3], ["Tue 02 Jun", "02:00", "04:00"]);
        assert_eq!(ticks.len(), 12);
    }

    #[test]
    fn what_reaches_beyond_the_window_is_cut() {
        let scale = Scale { from: at("2026-06-01T00:00:00Z"), to: at("2026-06-01T10:00:00Z") };
        assert!((scale.share(at("2026-06-01T05:00:00Z")) - 0.5).abs() < 1e-9);
        assert!(scale.share(at("2026-05-01T05:00:00Z")).abs() < 1e-9);
        assert!((scale.share(at("2026-07-01T05:00:00Z")) - 1.0).abs() < 1e-9);
        assert_eq!(scale.inside(at("2026-06-01T10:00:00Z")), None);
    }
}
