//! Machines as rows, time as columns, a line for now.

use jiff::{SignedDuration, Timestamp};
use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::HtmlElement;

use super::time::{absolute, clock, weekday};
use crate::clock::use_now;
use crate::preferences::{Zone, use_preferences};

/// Beyond this share of the window a tick has no word.
const LAST_WORD: f64 = 0.9;

/// The begin of the window for which the timeline has scrolled to now.
const BEGUN: &str = "data-begun";

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

/// A stretch of a machine's time that was chosen, by drag, two clicks, or two times Enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    pub name: String,
    pub start: Timestamp,
    pub end: Timestamp,
}

/// `<Timeline from to rows/>`, of the visible window `[from, to)` only; bookings that reach beyond it are cut. It is one tab
/// stop: arrows move within, Enter opens. With `on_pick`, one can choose a stretch of free time. Offer the list beside it,
/// for small screens and screen readers.
#[component]
pub fn Timeline(
    from: Timestamp,
    to: Timestamp,
    rows: Vec<Row>,
    #[prop(optional)] on_pick: Option<Callback<Picked>>,
) -> impl IntoView {
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
        let share = scale.share(tick.at);
        let style = format!("left:{:.3}%", share * 100.0);
        // At the end there is no room for the word.
        let text = (share < LAST_WORD).then(|| tick.text.clone());
        view! { <span class=if tick.strong { "tick strong" } else { "tick" } style=style>{text}</span> }
    });
    // Where the window is too small for all of it, it begins at what is on now: once, as the same element is drawn anew
    // with every change while somebody has scrolled on.
    Effect::new(move || {
        if let (Some(grid), Some(now)) = (grid.get(), now.get_untracked().and_then(|now| scale.inside(now))) {
            let window = from.to_string();
            if grid.get_attribute(BEGUN).as_ref() != Some(&window) && grid.set_attribute(BEGUN, &window).is_ok() {
                grid.set_scroll_left(begin_at(now, grid.scroll_width(), grid.client_width()));
            }
        }
    });
    let lines = ticks
        .iter()
        .map(|tick| format!("{:.3}", scale.share(tick.at) * 1000.0))
        .map(|x| view! { <line x1=x.clone() x2=x y1="0" y2="1"></line> })
        .collect_view();
    let mut first = true;
    let pick = on_pick.map(|chosen| Pick::new(scale, chosen));
    let body = rows
        .into_iter()
        .enumerate()
        .map(|(index, row)| {
            let slot = pick.map(|pick| pick.slot(index, &row, &zone, std::mem::take(&mut first)));
            let name = row.name.clone();
            let pointed = move |event: leptos::ev::PointerEvent, what: Pointed| {
                if let Some(pick) = pick {
                    pick.point(index, &name, &event, what);
                }
            };
            let (down, moved, up) = (pointed.clone(), pointed.clone(), pointed);
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
                    <span
                        class=if pick.is_some() { "timeline-track pickable" } else { "timeline-track" }
                        role="gridcell"
                        on:pointerdown=move |event| down(event, Pointed::Down)
                        on:pointermove=move |event| moved(event, Pointed::Moved)
                        on:pointerup=move |event| up(event, Pointed::Up)
                    >
                        {blocks}
                        {slot}
                    </span>
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

/// How far to scroll so that `share` of the whole stands in the first half of what can be seen.
#[expect(clippy::cast_possible_truncation, reason = "pixels")]
fn begin_at(share: f64, whole: i32, seen: i32) -> i32 {
    ((share * f64::from(whole)) as i32 - seen / 4).clamp(0, (whole - seen).max(0))
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
            view! { <a class=class style=style href=href tabindex=tab title=title.clone() aria-label=title data-block=""><span class="block-label">{label}</span></a> }.into_any()
        }
        None => {
            view! { <span class=class style=style tabindex=tab role="note" title=title.clone() aria-label=title data-block=""><span class="block-label">{label}</span></span> }.into_any()
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pointed {
    Down,
    Moved,
    Up,
}

/// Choosing a stretch: where it began, and where it reaches now.
#[derive(Clone, Copy)]
struct Pick {
    scale: Scale,
    step: SignedDuration,
    chosen: Callback<Picked>,
    /// Row, first step, last step; both are part of the stretch.
    range: RwSignal<Option<(usize, i64, i64)>>,
    dragging: RwSignal<bool>,
    /// The step on which the keyboard is.
    cursor: RwSignal<i64>,
}

impl Pick {
    fn new(scale: Scale, chosen: Callback<Picked>) -> Self {
        let day = scale.to.duration_since(scale.from) <= SignedDuration::from_hours(26);
        let step = SignedDuration::from_mins(if day { 30 } else { 120 });
        Pick {
            scale,
            step,
            chosen,
            range: RwSignal::new(None),
            dragging: RwSignal::new(false),
            cursor: RwSignal::new(0),
        }
    }

    fn steps(self) -> i64 {
        (self.scale.to.duration_since(self.scale.from).as_secs() / self.step.as_secs()).max(1)
    }

    fn time(self, step: i64) -> Timestamp {
        let after = SignedDuration::from_secs(self.step.as_secs().saturating_mul(step));
        self.scale.from.saturating_add(after).unwrap_or(self.scale.to)
    }

    /// Begins at `step`, or ends there if it has begun in this row.
    fn press(self, row: usize, name: &str, step: i64) {
        match self.range.get_untracked() {
            Some((begun, first, _)) if begun == row => self.choose(name, first, step),
            Some(_) | None => self.range.set(Some((row, step, step))),
        }
    }

    fn choose(self, name: &str, one: i64, other: i64) {
        self.range.set(None);
        let (start, end) = (self.time(one.min(other)), self.time(one.max(other) + 1));
        self.chosen.run(Picked { name: name.to_owned(), start, end });
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "some dozens of steps")]
    fn point(self, row: usize, name: &str, event: &leptos::ev::PointerEvent, what: Pointed) {
        let target = event.target().and_then(|target| target.dyn_into::<HtmlElement>().ok());
        let track = target.as_ref().and_then(|target| target.closest(".timeline-track").ok().flatten());
        let Some(track) = track else { return };
        let rect = track.get_bounding_client_rect();
        let share = ((f64::from(event.client_x()) - rect.left()) / rect.width().max(1.0)).clamp(0.0, 0.999_999);
        let step = (share * self.steps() as f64) as i64;
        let on_block = target.is_some_and(|target| target.closest("[data-block]").is_ok_and(|block| block.is_some()));
        match (what, self.range.get_untracked()) {
            (Pointed::Down, _) if on_block || event.button() != 0 => {}
            (Pointed::Down, Some((begun, first, _))) if begun == row => self.choose(name, first, step),
            (Pointed::Down, _) => {
                self.dragging.set(true);
                self.range.set(Some((row, step, step)));
            }
            (Pointed::Moved, Some((begun, first, _))) if begun == row && event.pointer_type() != "touch" => {
                self.range.set(Some((row, first, step)));
            }
            (Pointed::Up, Some((begun, first, last))) if self.dragging.get_untracked() => {
                self.dragging.set(false);
                if begun == row && first != last {
                    self.choose(name, first, last);
                }
            }
            (Pointed::Moved | Pointed::Up, _) => {}
        }
    }

    /// What the keyboard holds in a row, and the stretch as far as it is chosen.
    #[expect(clippy::cast_precision_loss, reason = "some dozens of steps")]
    fn slot(self, index: usize, row: &Row, zone: &Zone, first: bool) -> AnyView {
        let (name, blocks, zone) = (row.name.clone(), row.blocks.clone(), zone.clone());
        let at_step = move |blocks: &[Block], step: i64| {
            let at = self.time(step);
            blocks.iter().find(|block| block.start <= at && at < block.end).cloned()
        };
        let label = {
            let (name, blocks) = (name.clone(), blocks.clone());
            move || {
                let step = self.cursor.get();
                let state = match at_step(&blocks, step) {
                    Some(block) => format!("{}; Enter opens", block.label),
                    None if self.range.get().is_some_and(|(begun, ..)| begun == index) => {
                        "free; Enter ends here".to_owned()
                    }
                    None => "free; Enter begins here".to_owned(),
                };
                format!("{name}, {}, {state}", absolute(&zone, self.time(step), false))
            }
        };
        let share = move |step: i64| step as f64 / self.steps() as f64 * 100.0;
        let stretch = move || {
            let (_, one, other) = self.range.get().filter(|(begun, ..)| *begun == index)?;
            let (left, right) = (share(one.min(other)), share(one.max(other) + 1));
            Some(view! { <span class="stretch" style=format!("left:{left:.3}%;width:{:.3}%", right - left)></span> })
        };
        let keydown = move |event: leptos::ev::KeyboardEvent| {
            let last = self.steps() - 1;
            match event.key().as_str() {
                "ArrowLeft" => self.cursor.update(|cursor| *cursor = (*cursor - 1).max(0)),
                "ArrowRight" => self.cursor.update(|cursor| *cursor = (*cursor + 1).min(last)),
                "Home" => self.cursor.set(0),
                "End" => self.cursor.set(last),
                "Escape" => self.range.set(None),
                _ => return,
            }
            if let Some((begun, from, _)) = self.range.get_untracked()
                && begun == index
            {
                self.range.set(Some((index, from, self.cursor.get_untracked())));
            }
            event.prevent_default();
            event.stop_propagation();
        };
        let navigate = leptos_router::hooks::use_navigate();
        let press = move |_| {
            let step = self.cursor.get_untracked();
            match at_step(&blocks, step).map(|block| block.href) {
                Some(Some(href)) => navigate(&href, leptos_router::NavigateOptions::default()),
                Some(None) => {}
                None => self.press(index, &name, step),
            }
        };
        view! {
            {stretch}
            <button
                type="button"
                class="slot"
                data-block=""
                tabindex=if first { "0" } else { "-1" }
                aria-label=label
                style=move || format!("left:{:.3}%;width:{:.3}%", share(self.cursor.get()), share(1))
                on:keydown=keydown
                on:click=press
            ></button>
        }
        .into_any()
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
            let date = local.date();
            let strong = if hours { local.hour() == 0 } else { date.weekday() == jiff::civil::Weekday::Monday };
            // Ticks stand close: there is room for no more of the date.
            let text = match (hours, local.hour()) {
                (true, 0) | (false, _) => format!("{} {}", weekday(date), date.day()),
                (true, _) => clock(local),
            };
            found.push(Tick { at, text, strong });
        }
        let Ok(next) = local.checked_add(SignedDuration::from_hours(step_hours)) else {
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
        assert_eq!(texts, ["Fri 23", "Sat 24", "Sun 25", "Mon 26", "Tue 27", "Wed 28", "Thu 29"]);
        assert_eq!(ticks[3].at, at("2026-10-25T23:00:00Z"));
        assert!(ticks[3].strong && !ticks[2].strong);
    }

    #[test]
    fn a_day_has_hours() {
        let ticks = ticks(&berlin(), at("2026-06-01T22:00:00Z"), at("2026-06-02T22:00:00Z"));
        let texts: Vec<&str> = ticks.iter().map(|tick| tick.text.as_str()).collect();
        assert_eq!(texts[..3], ["Tue 2", "02:00", "04:00"]);
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
