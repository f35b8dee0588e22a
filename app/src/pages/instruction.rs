//! One instruction: what became of it on each host, with output and times.

#[cfg(feature = "ssr")]
use api::instructions::Instruction;
use api::instructions::{InstructionDetail, Transaction};
use domain::access::Action;
use domain::events::EventKind;
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use uuid::Uuid;

use crate::Failure;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::status::Status;
use crate::components::time::{Elapsed, Time, at};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;

/// A host's share and what it wrote, as text.
type Share = (Transaction, String);
type Shown = (InstructionDetail, Vec<Share>);

/// Hosts whose output the page fetches at once.
#[cfg(feature = "ssr")]
const OUTPUTS: usize = 50;

#[server(prefix = "/fn", endpoint = "instructions-get", input = leptos::server_fn::codec::Json)]
async fn fetch(instruction: String) -> Result<Shown, Failure> {
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let id: domain::ids::InstructionId = crate::server::id(&instruction, "instruction")?;
    let found = services::instructions::get(&services, &call, id).await.map_err(refuse)?;
    let mut shares = Vec::with_capacity(found.shares.len());
    for (index, share) in found.shares.into_iter().enumerate() {
        let transaction = share.transaction.id;
        let text = if index < OUTPUTS {
            let (pieces, _) =
                services::instructions::output(&services, &call, id, transaction, None).await.map_err(refuse)?;
            let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.content).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            String::new()
        };
        shares.push((Transaction::new(share.transaction, share.host_name, share.cancelling), text));
    }
    let instruction = Instruction::new(found.summary.instruction, found.summary.states);
    Ok((InstructionDetail { instruction, transactions: vec![] }, shares))
}

/// Cancels what is left of it.
#[server(prefix = "/fn", endpoint = "instructions-cancel")]
async fn cancel(instruction: Uuid) -> Result<(), Failure> {
    let (services, call) = crate::server::asked()?;
    let cancelled = services::instructions::cancel(&services, &call, instruction.into()).await;
    cancelled.map(|_| ()).map_err(crate::server::failure)
}

#[component]
pub fn InstructionPage() -> impl IntoView {
    let params = use_params_map();
    let live = use_live(&[EventKind::Instruction]);
    let cancelling = Submission::<Cancel>::new();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    let shown = Data::new(move || Fetch { instruction: id.get() }, move || live.get() + cancelling.answered());
    let about = Signal::derive(move || Some(shown.get()?.ok()?.0.instruction.title));
    view! {
        <Page title="Instruction" about needs=Action::InstructionsRead up=("/instructions", "Instructions")>
            {failure_of(move || cancelling.failure())}
            {follow(shown, move |shown| view! { <Shown shown cancelling/> }.into_any())}
        </Page>
    }
}

#[component]
fn Shown(shown: Signal<Shown>, cancelling: Submission<Cancel>) -> impl IntoView {
    let head = Memo::new(move |_| {
        shown.with(|(detail, shares)| {
            let open = shares.iter().any(|(share, _)| !share.state.is_final() && !share.cancelling);
            (detail.instruction.id, detail.instruction.title.clone(), detail.instruction.created_at.clone(), open)
        })
    });
    let shares = Memo::new(move |_| shown.with(|(_, shares)| shares.clone()));
    view! {
        {move || {
            let (id, title, created_at, open) = head.get();
            view! {
                <section class="card" aria-labelledby="command">
                    <div class="card-head">
                        <h2 id="command">"Command"</h2>
                        {open.then(|| view! {
                            <SubmitForm to=cancelling>
                                <input type="hidden" name="instruction" value=id.to_string()/>
                                <button type="submit" class="button danger" disabled=move || cancelling.pending().get()>"Cancel"</button>
                            </SubmitForm>
                        })}
                    </div>
                    <pre class="output" tabindex="0" aria-label="Command line">{title}</pre>
                    <p class="soft">"Asked "{at(&created_at).map(|at| view! { <Time at seconds=true/> })}". Each host claims it at most once."</p>
                </section>
            }
        }}
        <section class="column" aria-labelledby="hosts">
            <h2 id="hosts">"Hosts"</h2>
            {move || shares.get().into_iter().map(|(share, output)| view! { <OfHost share output/> }).collect_view()}
        </section>
    }
}

#[component]
fn OfHost(share: Transaction, output: String) -> impl IntoView {
    let step = |word: &'static str, time: Option<String>| {
        time.as_deref().and_then(at).map(|at| {
            view! {
                <dt>{word}</dt><dd><Time at seconds=true/></dd>
            }
        })
    };
    let why = match (share.cancelling, share.cause, share.exit_code) {
        (true, ..) => Some("asked to stop".to_owned()),
        (false, Some(cause), _) => Some(cause),
        (false, None, Some(code)) if code != 0 => Some(format!("exit code {code}")),
        (false, None, _) => None,
    };
    let started = share.started_at.as_deref().and_then(at);
    view! {
        <article class="card">
            <div class="card-head">
                <h3><a href=format!("/hosts/{}", share.host)>{share.host_name}</a></h3>
                <Status badge=share.state why/>
            </div>
            <dl class="facts two">
                {step("Offered", share.offered_at)}
                {step("Claimed", share.claimed_at)}
                {step("Started", share.started_at)}
                {step("Ended", share.ended_at.clone())}
                {started.map(|from| view! { <dt>{if share.ended_at.is_some() { "Took" } else { "Runs for" }}</dt><dd><Elapsed from to=share.ended_at.as_deref().and_then(at)/></dd> })}
            </dl>
            {(!output.is_empty()).then(|| view! { <pre class="output" tabindex="0" aria-label="Output">{output}</pre> })}
        </article>
    }
}
