//! What a deployment, or one of its objects, says: as it comes, over whatever breaks the connection for a while.

use std::collections::HashMap;

use api::objects::ConsoleLine;
use jiff::Timestamp;
use reqwest::Response;
use serde::Deserialize;
use tokio::time::timeout;

use super::objects;
use crate::{
    again::{Again, SILENCE_LIMIT},
    args::OneObject,
    client::Client,
    fault::Fault,
    table::{Output, print_text, printable, printable_lines},
    times,
};

/// The longest line of a console's stream, bytes.
const MAX_LINE_BYTES: usize = 1024 * 1024;
/// Hosts whose last line is remembered.
const MAX_HOSTS: usize = 10_000;

/// What a stream says.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Line(Box<ConsoleLine>),
    /// For standard error.
    Beside(String),
    End(String),
}

#[derive(Deserialize)]
struct Lost {
    host: String,
    lines: u64,
}

#[derive(Deserialize)]
struct Away {
    host: String,
    why: String,
}

#[derive(Deserialize)]
struct End {
    reason: String,
}

/// The last line of each host that was printed: with each connection what is kept is sent anew.
#[derive(Debug, Default)]
struct Seen(HashMap<String, (u64, Option<Timestamp>)>);

impl Seen {
    /// Whether the line was not there yet. Numbers begin anew with a host's agent, whose lines are then later ones.
    fn is_new(&mut self, line: &ConsoleLine) -> bool {
        let at = line.at.parse().ok();
        if self.0.get(&line.host).is_some_and(|(last, last_at)| line.seq <= *last && at <= *last_at) {
            return false;
        }
        if self.0.len() >= MAX_HOSTS {
            self.0.clear();
        }
        self.0.insert(line.host.clone(), (line.seq, at));
        true
    }
}

/// Prints what comes until it is ended.
pub async fn console(
    client: &Client,
    deployment: &str,
    object: Option<&OneObject>,
    output: Output,
) -> Result<(), Fault> {
    let (class, id) = match object {
        Some(ask) => (ask.class.as_str(), objects::id(client, ask).await?),
        None => ("", String::new()),
    };
    let path = match object {
        Some(_) => vec![objects::PATH, deployment, class, &id, "console"],
        None => vec!["deployments", deployment, "console"],
    };
    let mut seen = Seen::default();
    let mut stream = client.stream(&path).await?;
    loop {
        let fault = follow(client, stream, &mut seen, output).await;
        if !fault.is_passing() {
            return Err(fault);
        }
        eprintln!("berth: {fault}; trying again");
        stream = anew(client, &path).await?;
        eprintln!("berth: connected again");
    }
}

/// The stream once more, as soon as there is one.
async fn anew(client: &Client, path: &[&str]) -> Result<Response, Fault> {
    let mut again = Again::new();
    loop {
        again.wait().await;
        match client.stream(path).await {
            Ok(stream) => return Ok(stream),
            Err(fault) if !fault.is_passing() || again.is_over() => return Err(fault),
            Err(_) => {}
        }
    }
}

/// Prints what comes; why nothing comes any more.
async fn follow(client: &Client, mut stream: Response, seen: &mut Seen, output: Output) -> Fault {
    let (mut buffer, mut event) = (Vec::new(), String::new());
    loop {
        let chunk = match timeout(SILENCE_LIMIT, stream.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Fault::Later("the server has ended the console".to_owned()),
            Ok(Err(error)) => return Fault::Later(format!("the connection broke ({error})")),
            Err(_silence) => return Fault::Later("nothing was heard of the server".to_owned()),
        };
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if let Err(fault) = take(&String::from_utf8_lossy(&line), &mut event, seen, output) {
                return fault;
            }
        }
        if buffer.len() > MAX_LINE_BYTES {
            return client.strange("a line without an end");
        }
    }
}

/// One line of the stream itself.
fn take(line: &str, event: &mut String, seen: &mut Seen, output: Output) -> Result<(), Fault> {
    if let Some(name) = line.strip_prefix("event:") {
        name.trim().clone_into(event);
    } else if let Some(data) = line.strip_prefix("data:") {
        match told(event, data.trim()) {
            Some(Told::Line(line)) if !seen.is_new(&line) => {}
            Some(told) => print(&told, output)?,
            None => {}
        }
    }
    Ok(())
}

/// What an event means; one that a newer server sends may mean nothing.
fn told(event: &str, data: &str) -> Option<Told> {
    match event {
        "line" => serde_json::from_str(data).ok().map(|line| Told::Line(Box::new(line))),
        "lost" => {
            let Lost { host, lines } = serde_json::from_str(data).ok()?;
            Some(Told::Beside(format!("{lines} lines of {host} are kept no more")))
        }
        "away" => {
            let Away { host, why } = serde_json::from_str(data).ok()?;
            Some(Told::Beside(format!("{host}: {why}")))
        }
        "end" => serde_json::from_str(data).ok().map(|End { reason }| Told::End(reason)),
        _ => None,
    }
}

fn print(told: &Told, output: Output) -> Result<(), Fault> {
    match (told, output) {
        (Told::Line(line), Output::Json) => {
            let text = serde_json::to_string(line).map_err(|error| Fault::Failed(error.to_string()))?;
            print_text(&(text + "\n"))
        }
        (Told::Line(line), Output::People) => print_text(&in_words(line)),
        (Told::Beside(text), _) => {
            eprintln!("berth: {}", printable(text));
            Ok(())
        }
        (Told::End(reason), _) => Err(Fault::Failed(printable(reason))),
    }
}

fn in_words(line: &ConsoleLine) -> String {
    let who = match (&line.class, &line.name, &line.id) {
        (Some(class), Some(name), _) => format!("{class} {name}"),
        (Some(class), None, Some(id)) => format!("{class} {}", &id[..id.len().min(8)]),
        (Some(class), None, None) => class.clone(),
        (None, _, _) => "worker".to_owned(),
    };
    format!("{} [{}] {}: {}\n", times::local_text(&line.at), printable(&who), line.level, printable_lines(&line.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_console() {
        let line = r#"{"seq":1,"at":"2026-01-01T00:00:00Z","level":"log","host":"a","class":"Room","id":"00ff","name":null,"text":"hi"}"#;
        let Some(Told::Line(line)) = told("line", line) else { panic!("a line") };
        assert!(in_words(&line).ends_with("[Room 00ff] log: hi\n"), "{}", in_words(&line));
        let check =
            |event: &str, data: &str, expected: Option<Told>| assert_eq!(told(event, data), expected, "{event}");
        let beside = |text: &str| Some(Told::Beside(text.to_owned()));
        check("lost", r#"{"host":"a","lines":3}"#, beside("3 lines of a are kept no more"));
        check("away", r#"{"host":"a","why":"offline"}"#, beside("a: offline"));
        check("end", r#"{"reason":"signed out"}"#, Some(Told::End("signed out".to_owned())));
        check("new", "{}", None);
    }

    #[test]
    fn what_is_sent_anew_is_printed_once() {
        let mut seen = Seen::default();
        let mut check = |host: &str, seq: u64, at: &str, expected: bool| {
            let line = ConsoleLine {
                seq,
                at: format!("2026-01-01T00:00:{at}Z"),
                level: "log".to_owned(),
                host: host.to_owned(),
                class: None,
                id: None,
                name: None,
                text: String::new(),
            };
            assert_eq!(seen.is_new(&line), expected, "{host} {seq} {at}");
        };
        check("a", 7, "01", true);
        check("a", 8, "01", true);
        check("b", 3, "01.5", true);
        // The connection was made again.
        check("a", 7, "01", false);
        check("a", 8, "01", false);
        check("a", 9, "01", true);
        check("b", 3, "01.5", false);
        // The agent was started again.
        check("b", 1, "02", true);
    }
}
