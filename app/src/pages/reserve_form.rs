//! The form of a booking: native inputs, which the timeline and the next free times fill in.

use leptos::prelude::*;

use super::reserve::{Reserve as ReserveAction, Typed};
use crate::components::field::{TextArea, TextField};
use crate::components::load::failure_of;
use crate::functions::{Submission, SubmitForm};
use crate::preferences::use_preferences;

/// Fields of the form beside which a refusal is said.
const FIELDS: &[&str] =
    &["machine", "machines", "labels", "count", "start", "end", "duration_s", "purpose", "environment"];

#[component]
pub(super) fn ReserveForm(typed: Typed) -> impl IntoView {
    let booking = Submission::<ReserveAction>::new();
    let zone = use_preferences().zone.name;
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let by_labels = given(&typed.labels);
    let with_environment = given(&typed.image) || given(&typed.setup);
    let count = typed.count.unwrap_or(1).to_string();
    let zone_hint = format!("Empty is now. Times in {zone}.");
    view! {
        <SubmitForm to=booking class="form">
            <input type="hidden" name="zone" value=zone/>
            <TextField name="machine" label="Machine" optional=true mono=true value=typed.machine.unwrap_or_default()
                hint="Leave it empty to get any machine with the labels." error=booking.error_of(&["machine", "machines"])/>
            <details open=by_labels>
                <summary>"Any machine with labels"</summary>
                <div class="form-row padded-top">
                    <TextField name="labels" id="form-labels" label="Labels" optional=true mono=true placeholder="gpu=a100" value=typed.labels.unwrap_or_default() error=booking.error_of(&["labels"])/>
                    <TextField name="count" label="How many" kind="number" min="1" max="64" value=count error=booking.error_of(&["count"])/>
                </div>
            </details>
            <TextField name="start" label="From" kind="datetime-local" optional=true value=typed.start.unwrap_or_default()
                hint=zone_hint error=booking.error_of(&["start"])/>
            <TextField name="end" label="Until" kind="datetime-local" value=typed.end error=booking.error_of(&["end", "duration_s"])/>
            <TextField name="purpose" label="What for" optional=true max_length=500 value=typed.purpose.unwrap_or_default() error=booking.error_of(&["purpose"])/>
            <details open=with_environment>
                <summary>"Environment"</summary>
                <div class="form padded-top">
                    <TextField name="environment[image]" id="image" label="Image" optional=true mono=true value=typed.image.unwrap_or_default() hint="For machines of kind container; else their own default." error=booking.error_of(&["environment"])/>
                    <TextArea name="environment[setup]" label="Set-up script" optional=true value=typed.setup.unwrap_or_default() placeholder="apt-get install -y gdb" hint="Run by /bin/sh before the session becomes active."/>
                </div>
            </details>
            {failure_of(move || booking.failure_beside(FIELDS))}
            <div class="form-actions">
                <button type="submit" id="reserve-submit" class="button primary" disabled=move || booking.pending().get()>"Reserve"</button>
            </div>
        </SubmitForm>
    }
}
