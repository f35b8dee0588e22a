//! Instructions: commands that an admin runs on hosts.

use api::Page as Items;
use api::instructions::Instruction;
use domain::access::Action;
use domain::events::EventKind;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use crate::Failure;
use crate::components::empty::Empty;
use crate::components::field::TextField;
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::status::Status;
use crate::components::table::{DataTable, Heading, Pager};
use crate::components::tags::query_part;
use crate::components::time::{Time, at};
use crate::functions::{Data, Submission, SubmitForm};
use crate::live::use_live;
use crate::viewer::use_viewer;

#[server(prefix = "/fn", endpoint = "instructions-list", input = leptos::server_fn::codec::Json)]
async fn list(cursor: Option<String>) -> Result<Items<Instruction>, Failure> {
    let (services, call) = crate::server::asked()?;
    let ask = services::page::PageAsk { limit: None, cursor };
    let page = services::instructions::list(&services, &call, &ask).await.map_err(crate::server::failure)?;
    Ok(crate::server::page(page, |summary| Instruction::new(summary.instruction, summary.states)))
}

/// Runs the command line, split as a shell would split words, without a shell.
#[server(prefix = "/fn", endpoint = "instructions-run")]
async fn run(hosts: String, labels: String, command: String, timeout_s: u32) -> Result<(), Failure> {
    use services::Error;
    use services::instructions::Targets;
    let refuse = crate::server::failure;
    let (services, call) = crate::server::asked()?;
    let names: Vec<String> =
        hosts.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let on = match (names.is_empty(), labels.trim()) {
        (false, "") => Targets::Names(names),
        (true, text) if !text.is_empty() => Targets::Labels(
            text.parse().map_err(|bad: domain::labels::BadLabels| refuse(Error::invalid("labels", bad.to_string())))?,
        ),
        _ => return Err(refuse(Error::invalid("hosts", "choose hosts by names or by labels, one of the two"))),
    };
    let argv = words(&command).ok_or_else(|| refuse(Error::invalid("argv", "a quote is not closed")))?;
    let detail = services::instructions::run_on(&services, &call, &on, argv, Some(timeout_s)).await.map_err(refuse)?;
    leptos_axum::redirect(&format!("/instructions/{}", detail.summary.instruction.id));
    Ok(())
}

/// The words of a command line: spaces part them, quotes keep them together, a backslash keeps the next letter.
#[cfg(feature = "ssr")]
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some('\''), letter) => word.get_or_insert_default().push(letter),
            (_, '\\') => word.get_or_insert_default().extend(letters.next()),
            (Some(_), letter) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Fields of the form beside which a refusal is said.
const FIELDS: &[&str] = &["hosts", "labels", "argv", "timeout_s"];

#[component]
pub fn Instructions() -> impl IntoView {
    let query = use_query_map();
    let live = use_live(&[EventKind::Instruction]);
    let running = Submission::<Run>::new();
    let instructions = Data::new(
        move || List { cursor: query.with(|query| query.get("cursor")) },
        move || live.get() + running.answered(),
    );
    let may_run = use_viewer().is_some_and(|viewer| viewer.may(Action::InstructionsRun));
    let hosts = query.with_untracked(|query| query.get("hosts")).unwrap_or_default();
    view! {
        <Page title="Instructions" needs=Action::InstructionsRead lede="Commands that run on hosts themselves, once each, with what became of them.">
            {may_run.then(|| view! {
                <section class="card" aria-labelledby="run">
                    <h2 id="run">"Run on hosts"</h2>
                    <SubmitForm to=running class="form">
                        <div class="form-row">
                            <TextField name="hosts" label="Hosts by name" optional=true mono=true value=hosts placeholder="build-1, build-2" error=running.error_of(&["hosts"])/>
                            <TextField name="labels" label="or by labels" optional=true mono=true placeholder="os=debian12" error=running.error_of(&["labels"])/>
                            <TextField name="timeout_s" label="Seconds it may run" kind="number" value="300" min="1" max="86400" error=running.error_of(&["timeout_s"])/>
                        </div>
                        <TextField name="command" label="Command" mono=true placeholder="uname -a" max_length=4000
                            hint="No shell looks at it; write sh -c '…' for one." error=running.error_of(&["argv"])/>
                        <div class="form-actions">
                            <button type="submit" class="button primary" disabled=move || running.pending().get()><Icon name="play"/>"Run"</button>
                        </div>
                    </SubmitForm>
                    {failure_of(move || running.failure_beside(FIELDS))}
                </section>
            })}
            {follow(instructions, move |instructions| view! { <Table instructions/> }.into_any())}
        </Page>
    }
}

#[component]
fn Table(instructions: Signal<Items<Instruction>>) -> impl IntoView {
    let row = |instruction: Instruction| {
        let states = instruction
            .states
            .into_iter()
            .map(|state| {
                view! {
                    <span class="row"><Status badge=state.state/><span class="num soft">"× "{state.count}</span></span>
                }
            })
            .collect_view();
        view! {
            <tr>
                <th scope="row"><a class="main-link mono" href=format!("/instructions/{}", instruction.id)>{instruction.title}</a></th>
                <td data-label="Hosts"><div class="row">{states}</div></td>
                <td data-label="Asked">{at(&instruction.created_at).map(|at| view! { <Time at seconds=true/> })}</td>
            </tr>
        }
    };
    move || {
        let Items { items, next_cursor } = instructions.get();
        if items.is_empty() {
            return view! {
                <Empty icon="instructions" title="No instructions yet">
                    <p>"What you run on hosts stays here with its output, host by host."</p>
                </Empty>
            }
            .into_any();
        }
        let shown = items.len();
        let next = next_cursor.map(|cursor| format!("/instructions?cursor={}", query_part(&cursor)));
        let headings = vec![Heading::text("Command"), Heading::text("Hosts"), Heading::text("Asked")];
        view! {
            <DataTable caption="Instructions" headings>{items.into_iter().map(row).collect_view()}</DataTable>
            <Pager next shown/>
        }
        .into_any()
    }
}

#[cfg(all(test, feature = "ssr"))]
mod tests {
    use super::words;

    #[test]
    fn words_are_as_in_a_shell() {
        let check = |line, expected: &[&str]| {
            assert_eq!(words(line), Some(expected.iter().map(|word| (*word).to_owned()).collect()), "{line}");
        };
        check("uname -a", &["uname", "-a"]);
        check(r#"sh -c 'echo "a b"; exit 3' ''"#, &["sh", "-c", r#"echo "a b"; exit 3"#, ""]);
        check(r#"a\ b "c\"d""#, &["a b", "c\"d"]);
        check("", &[]);
        assert_eq!(words("'open"), None);
    }
}
