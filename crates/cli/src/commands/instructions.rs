//! `berth exec`: an instruction for hosts, its states and output as they come.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
};

use api::instructions::{InstructionDetail, Output, RunInstruction, Transaction};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::instructions::TransactionState;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    args::Exec,
    client::Client,
    commands::reservations::seconds,
    events::Changes,
    fault::{Fault, code},
    signals::{self, Signals},
    table::{self, Table, print_json, printable},
};

/// A line of output is held back until it ends, up to this many bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// 0 if it was done everywhere; a single host's exit code; else 1. 130 after Ctrl+C.
pub async fn exec(client: &Client, ask: &Exec) -> Result<u8, Fault> {
    let mut signals = Signals::listen()?;
    let (mut changes, _all) = Changes::watch(client).await;
    let detail: InstructionDetail = client.post_once(&["instructions"], &request(ask)?, Uuid::new_v4()).await?;
    let id = detail.instruction.id.to_string();
    let mut show = Show::new(ask.json.json, detail.transactions.len());
    let mut stopped = None;
    let last = loop {
        match look(client, &id, &mut show).await {
            Ok(detail) if detail.transactions.iter().all(|transaction| transaction.state.is_final()) => break detail,
            Ok(_) => {}
            Err(fault) if fault.is_passing() => show.say("the server is away; waiting for it"),
            Err(fault) => return Err(fault),
        }
        tokio::select! {
            () = changes.next() => {}
            number = signals.stop() => {
                if let Some(number) = stopped {
                    show.say("left before every host had answered");
                    return Ok(signals::exit_code(number));
                }
                stopped = Some(number);
                show.say("cancelling; once more leaves at once");
                client.tell(&["instructions", &id, "cancel"], &serde_json::json!({})).await?;
            }
        }
    };
    show.end(&last)?;
    Ok(stopped.map_or_else(|| exit_code(&last.transactions), signals::exit_code))
}

fn request(ask: &Exec) -> Result<RunInstruction, Fault> {
    let (hosts, labels) = if ask.hosts.contains('=') {
        (None, Some(ask.hosts.clone()))
    } else {
        let names = ask.hosts.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        (Some(names.collect()), None)
    };
    let timeout_s = match &ask.timeout {
        None => None,
        Some(text) => {
            let too_long = |_| Fault::Usage(format!("--timeout {text} is too long"));
            Some(u32::try_from(seconds(text)?).map_err(too_long)?)
        }
    };
    Ok(RunInstruction { hosts, labels, argv: ask.command.clone(), timeout_s })
}

fn exit_code(transactions: &[Transaction]) -> u8 {
    let of = |transaction: &Transaction| match (transaction.state, transaction.exit_code) {
        (TransactionState::Done, None | Some(0)) => 0,
        (TransactionState::Done | TransactionState::Failed, Some(code @ 1..=255)) => {
            u8::try_from(code).unwrap_or(code::FAILED)
        }
        (
            TransactionState::Done
            | TransactionState::Failed
            | TransactionState::Waiting
            | TransactionState::Offered
            | TransactionState::Claimed
            | TransactionState::Running
            | TransactionState::Cancelled
            | TransactionState::Expired
            | TransactionState::NeverDelivered
            | TransactionState::Unknown,
            _,
        ) => code::BERTH,
    };
    match transactions {
        [one] => of(one),
        several => {
            if several.iter().all(|transaction| of(transaction) == 0) {
                0
            } else {
                code::FAILED
            }
        }
    }
}

/// Fetches the states, and the output that is new of those that may have some.
async fn look(client: &Client, id: &str, show: &mut Show) -> Result<InstructionDetail, Fault> {
    let detail: InstructionDetail = client.get(&["instructions", id]).await?;
    for transaction in &detail.transactions {
        let began = transaction.started_at.is_some() || transaction.state.is_final();
        if began && !show.complete(transaction.id) {
            let after = show.after(transaction.id);
            let query: Vec<_> = after.map(|seq| ("after", seq.to_string())).into_iter().collect();
            let transaction_id = transaction.id.to_string();
            let path = ["instructions", id, "transactions", &transaction_id, "output"];
            let output: Output = client.get_with(&path, &query).await?;
            show.output(transaction, &output)?;
        }
        show.state(transaction);
    }
    Ok(detail)
}

/// What one host has said so far.
#[derive(Debug, Default)]
struct Heard {
    state: Option<TransactionState>,
    after: Option<i64>,
    complete: bool,
    /// Unfinished lines of standard output and error.
    lines: [Vec<u8>; 2],
    /// Everything, for JSON.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Prints as it comes: one host's output as it is, several hosts' by lines with their names.
struct Show {
    json: bool,
    tty: bool,
    alone: bool,
    heard: HashMap<Uuid, Heard>,
}

#[derive(Serialize)]
struct HostResult<'a> {
    #[serde(flatten)]
    transaction: &'a Transaction,
    /// As text; bytes that are none are replaced.
    stdout: String,
    stderr: String,
}

impl Show {
    fn new(json: bool, hosts: usize) -> Self {
        Self { json, tty: std::io::stderr().is_terminal(), alone: hosts == 1, heard: HashMap::new() }
    }
    fn say(&self, text: &str) {
        eprintln!("berth: {text}");
    }
    fn complete(&self, id: Uuid) -> bool {
        self.heard.get(&id).is_some_and(|heard| heard.complete)
    }
    fn after(&self, id: Uuid) -> Option<i64> {
        self.heard.get(&id).and_then(|heard| heard.after)
    }

    fn state(&mut self, transaction: &Transaction) {
        let heard = self.heard.entry(transaction.id).or_default();
        if heard.state.replace(transaction.state) != Some(transaction.state) && self.tty && !self.json {
            eprintln!("berth: {} {}", printable(&transaction.host_name), transaction.state);
        }
    }

    fn output(&mut self, transaction: &Transaction, output: &Output) -> Result<(), Fault> {
        let heard = self.heard.entry(transaction.id).or_default();
        for piece in &output.items {
            let bytes = STANDARD
                .decode(&piece.base64)
                .map_err(|_| Fault::Failed(format!("the output of {} is damaged", transaction.host_name)))?;
            let error = piece.channel == "stderr";
            if self.json {
                if error { &mut heard.stderr } else { &mut heard.stdout }.extend_from_slice(&bytes);
            } else if self.alone {
                write_out(error, &bytes)?;
            } else {
                let line = &mut heard.lines[usize::from(error)];
                line.extend_from_slice(&bytes);
                print_lines(&transaction.host_name, error, line, MAX_LINE_BYTES)?;
            }
            heard.after = Some(piece.seq);
        }
        if output.complete {
            heard.complete = true;
            for (error, line) in [false, true].into_iter().zip(&mut heard.lines) {
                print_lines(&transaction.host_name, error, line, 0)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, detail: &InstructionDetail) -> Result<(), Fault> {
        if self.json {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let results: Vec<_> = detail
                .transactions
                .iter()
                .map(|transaction| {
                    let heard = self.heard.get(&transaction.id);
                    HostResult {
                        transaction,
                        stdout: heard.map(|heard| text(&heard.stdout)).unwrap_or_default(),
                        stderr: heard.map(|heard| text(&heard.stderr)).unwrap_or_default(),
                    }
                })
                .collect();
            return print_json(&results);
        }
        let all_well = exit_code(&detail.transactions) == 0;
        if !all_well || (self.tty && !self.alone) {
            eprint!("{}", present(&detail.transactions).render());
        }
        Ok(())
    }
}

fn present(transactions: &[Transaction]) -> Table {
    let mut table = Table::new(&["HOST", "STATE", "EXIT", "TOOK", "WHY"]);
    for transaction in transactions {
        let parse = |at: &Option<String>| at.as_ref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        let took = parse(&transaction.started_at)
            .zip(parse(&transaction.ended_at))
            .map_or_else(|| "-".to_owned(), |(from, to)| format!("{} ms", to.duration_since(from).as_millis()));
        table.row([
            transaction.host_name.clone(),
            transaction.state.to_string(),
            transaction.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
            took,
            transaction.cause.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn write_out(error: bool, bytes: &[u8]) -> Result<(), Fault> {
    let written = if error {
        std::io::stderr().write_all(bytes)
    } else {
        let mut out = std::io::stdout();
        out.write_all(bytes).and_then(|()| out.flush())
    };
    match written {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Fault::Io { what: "cannot write the output".to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Takes whole lines out of `buffer` and prints them after the host's name; what is over `keep` bytes without an end
/// goes as a line of its own.
fn print_lines(host: &str, error: bool, buffer: &mut Vec<u8>, keep: usize) -> Result<(), Fault> {
    let end = match buffer.iter().rposition(|&byte| byte == b'\n') {
        _ if buffer.len() > keep && keep == 0 => buffer.len(),
        Some(end) => end + 1,
        None if buffer.len() > keep => buffer.len(),
        None => return Ok(()),
    };
    let text: Vec<u8> = buffer.drain(..end).collect();
    let mut lines = String::new();
    for line in String::from_utf8_lossy(&text).lines() {
        lines.push_str(&format!("{}: {}\n", printable(host), table::printable_lines(line)));
    }
    write_out(error, lines.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(state: TransactionState, exit_code: Option<i32>) -> Transaction {
        Transaction {
            id: Uuid::nil(),
            instruction: Uuid::nil(),
            host: Uuid::nil(),
            host_name: "lab-1".to_owned(),
            session: None,
            state,
            created_at: String::new(),
            offered_at: None,
            claimed_at: None,
            started_at: Some("2026-03-10T12:00:00Z".to_owned()),
            ended_at: Some("2026-03-10T12:00:00.250Z".to_owned()),
            expires_at: String::new(),
            exit_code,
            cause: exit_code.map(|code| format!("exit code {code}")),
            cancelling: false,
        }
    }

    #[test]
    fn exit_codes() {
        use TransactionState::{Done, Expired, Failed};
        let check = |transactions: &[Transaction], expected: u8| assert_eq!(exit_code(transactions), expected);
        check(&[transaction(Done, Some(0))], 0);
        check(&[transaction(Failed, Some(3))], 3);
        check(&[transaction(Expired, None)], 125);
        check(&[transaction(Done, Some(0)), transaction(Done, Some(0))], 0);
        check(&[transaction(Done, Some(0)), transaction(Failed, Some(3))], 1);
    }

    #[test]
    fn the_table() {
        assert_eq!(
            present(&[transaction(TransactionState::Failed, Some(3))]).render(),
            "HOST   STATE   EXIT  TOOK    WHY\n\
             lab-1  failed  3     250 ms  exit code 3\n"
        );
    }

    #[test]
    fn names_and_labels() {
        let ask = |hosts: &str| Exec {
            hosts: hosts.to_owned(),
            timeout: Some("1m".to_owned()),
            json: crate::args::Json { json: false },
            command: vec!["uptime".to_owned()],
        };
        let names = request(&ask("lab-1, lab-2")).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(names.hosts, Some(vec!["lab-1".to_owned(), "lab-2".to_owned()]));
        assert_eq!((names.labels, names.timeout_s), (None, Some(60)));
        let labels = request(&ask("os=debian12")).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!((labels.hosts, labels.labels.as_deref()), (None, Some("os=debian12")));
    }
}
