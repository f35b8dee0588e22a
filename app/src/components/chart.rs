//! Charts: SVG from plain Rust, the same in pages and printed reports. Put the table beside the chart.

use std::fmt::Write as _;

use leptos::prelude::*;

const SPARK_WIDTH: f64 = 100.0;
const SPARK_HEIGHT: f64 = 24.0;

/// A line over time without axes: `<Sparkline values=... max=1.0 label="CPU, last 5 minutes"/>`. Without `max` the
/// largest value is the top.
#[component]
pub fn Sparkline(
    #[prop(into)] values: Signal<Vec<f64>>,
    #[prop(optional)] max: Option<f64>,
    #[prop(into)] label: String,
    /// As wide as its place.
    #[prop(optional)]
    big: bool,
) -> impl IntoView {
    let paths = Memo::new(move |_| values.with(|values| spark_paths(values, max)));
    view! {
        <svg
            class=if big { "sparkline big" } else { "sparkline" }
            viewBox=format!("0 0 {SPARK_WIDTH} {SPARK_HEIGHT}")
            preserveAspectRatio="none"
            role="img"
            aria-label=label
        >
            <path class="area" d=move || paths.get().1></path>
            <path class="trace" d=move || paths.get().0></path>
        </svg>
    }
}

/// The line, and the area under it.
#[expect(clippy::cast_precision_loss, reason = "a few hundred points")]
fn spark_paths(values: &[f64], max: Option<f64>) -> (String, String) {
    if values.len() < 2 {
        return (String::new(), String::new());
    }
    let top = max.unwrap_or_else(|| values.iter().copied().fold(0.0, f64::max)).max(f64::EPSILON);
    let step = SPARK_WIDTH / (values.len() - 1) as f64;
    let mut line = String::with_capacity(values.len() * 12);
    for (index, value) in values.iter().enumerate() {
        let share = if value.is_finite() { (value / top).clamp(0.0, 1.0) } else { 0.0 };
        let command = if index == 0 { 'M' } else { 'L' };
        let (x, y) = (step * index as f64, 1.0 + (SPARK_HEIGHT - 2.0) * (1.0 - share));
        // Writing to a string cannot fail.
        write!(line, "{command}{x:.2} {y:.2}").unwrap_or_default();
    }
    let area = format!("{line}L{SPARK_WIDTH} {SPARK_HEIGHT}L0 {SPARK_HEIGHT}Z");
    (line, area)
}

/// A share of a whole, 0 to 1, in words too: `<Meter share=0.42 label="Memory"/>`.
#[component]
pub fn Meter(#[prop(into)] share: Signal<f64>, #[prop(into)] label: String) -> impl IntoView {
    let percent = Memo::new(move |_| format!("{:.0}", share.get().clamp(0.0, 1.0) * 100.0));
    let class = Memo::new(move |_| match share.get() {
        share if share >= 0.95 => "meter full",
        share if share >= 0.8 => "meter high",
        _ => "meter",
    });
    view! {
        <span class="metric">
            <svg class=class viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label=move || format!("{label} {} %", percent.get())>
                <rect class="rail" width="100" height="8" rx="4"></rect>
                <rect class="fill" width=move || percent.get() height="8" rx="4"></rect>
            </svg>
            <span class="value">{move || percent.get()}" %"</span>
        </span>
    }
}

/// A share of a whole, 0 to 1, as a number alone.
#[component]
pub fn Percent(#[prop(into)] share: Signal<f64>) -> impl IntoView {
    let text = Memo::new(move |_| format!("{:.0}", share.get().clamp(0.0, 1.0) * 100.0));
    view! { <span class="value">{text}" %"</span> }
}

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    pub label: String,
    pub value: f64,
}

/// Lying bars with their labels and values, which are a table at once: `<BarChart title="Hours by person" unit="h" bars/>`.
#[component]
pub fn BarChart(#[prop(into)] title: String, bars: Vec<Bar>, #[prop(optional, into)] unit: String) -> impl IntoView {
    let top = bars.iter().map(|bar| bar.value).fold(0.0, f64::max).max(f64::EPSILON);
    let rows = bars.into_iter().map(|bar| {
        let width = format!("{:.1}", 100.0 * (bar.value / top).clamp(0.0, 1.0));
        view! {
            <tr>
                <th scope="row">{bar.label}</th>
                <td class="track">
                    <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="bar" width=width height="8"></rect></svg>
                </td>
                <td class="num">{format!("{:.1} {unit}", bar.value)}</td>
            </tr>
        }
    });
    view! { <table class="bars"><caption class="visually-hidden">{title}</caption><tbody>{rows.collect_view()}</tbody></table> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_spans_its_box() {
        let (line, area) = spark_paths(&[0.0, 0.5, 1.0], Some(1.0));
        assert_eq!(line, "M0.00 23.00L50.00 12.00L100.00 1.00");
        assert_eq!(area, "M0.00 23.00L50.00 12.00L100.00 1.00L100 24L0 24Z");
    }

    #[test]
    fn values_beyond_the_box_stay_in_it_and_too_few_draw_nothing() {
        assert_eq!(spark_paths(&[2.0, f64::NAN], Some(1.0)).0, "M0.00 1.00L100.00 23.00");
        assert_eq!(spark_paths(&[1.0], None), (String::new(), String::new()));
        assert_eq!(spark_paths(&[0.0, 0.0], None).0, "M0.00 23.00L100.00 23.00");
    }
}
