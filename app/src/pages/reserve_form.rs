//! The form of a booking: native inputs, which the timeline and the next free times fill in.

use leptos::prelude::*;

use super::reserve::Reserve as ReserveAction;
use crate::components::field::{TextArea, TextField};
use crate::components::load::failure_of;
use crate::preferences::use_preferences;

/// What the address says was chosen; times as the clock on the wall shows them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chosen {
    pub machine: Option<String>,
    pub start: Option<String>,
    pub end: Option<String>,
    pub labels: Option<String>,
}

#[component]
pub(super) fn ReserveForm(chosen: Chosen) -> impl IntoView {
    let booking = ServerAction::<ReserveAction>::new();
    let zone = use_preferences().zone.name;
    let by_labels = chosen.labels.is_some();
    let zone_hint = format!("Empty is now. Times in {zone}.");
    let error_of = move |fields: &'static [&'static str]| {
        Signal::derive(move || {
            let failure = booking.value().get().and_then(Result::err)?;
            fields.iter().find_map(|field| failure.of_field(field))
        })
    };
    const BESIDE: [&str; 9] =
        ["machine", "machines", "labels", "count", "start", "end", "duration_s", "purpose", "environment"];
    let general = move || {
        let failure = booking.value().get().and_then(Result::err)?;
        let beside = failure.0.field.as_deref().is_some_and(|field| BESIDE.contains(&field));
        (!beside).then_some(Err::<(), _>(failure))
    };
    view! {
        <ActionForm action=booking attr:class="form">
            <input type="hidden" name="zone" value=zone/>
            <TextField name="machine" label="Machine" optional=true mono=true value=chosen.machine.unwrap_or_default()
                hint="Leave it empty to get any machine with the labels." error=error_of(&["machine", "machines"])/>
            <details open=by_labels>
                <summary>"Any machine with labels"</summary>
                <div class="form-row padded-top">
                    <TextField name="labels" id="form-labels" label="Labels" optional=true mono=true placeholder="gpu=a100" value=chosen.labels.unwrap_or_default() error=error_of(&["labels"])/>
                    <TextField name="count" label="How many" kind="number" min="1" max="64" value="1" error=error_of(&["count"])/>
                </div>
            </details>
            <TextField name="start" label="From" kind="datetime-local" optional=true value=chosen.start.unwrap_or_default()
                hint=zone_hint error=error_of(&["start"])/>
            <TextField name="end" label="Until" kind="datetime-local" value=chosen.end.unwrap_or_default() error=error_of(&["end", "duration_s"])/>
            <TextField name="purpose" label="What for" optional=true max_length=500 error=error_of(&["purpose"])/>
            <details>
                <summary>"Environment"</summary>
                <div class="form padded-top">
                    <TextField name="environment[image]" id="image" label="Image" optional=true mono=true hint="For machines of kind container; else their own default." error=error_of(&["environment"])/>
                    <TextArea name="environment[setup]" label="Set-up script" optional=true placeholder="apt-get install -y gdb" hint="Run by /bin/sh before the session becomes active."/>
                </div>
            </details>
            {failure_of(general)}
            <div class="form-actions">
                <button type="submit" id="reserve-submit" class="button primary" disabled=move || booking.pending().get()>"Reserve"</button>
            </div>
        </ActionForm>
    }
}
