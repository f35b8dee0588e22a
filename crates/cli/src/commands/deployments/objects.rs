//! What a deployment's objects hold.

use api::objects::{ID_DIGITS, KvEntries, KvEntry, ObjectInfo, Objects, Sought, SqlQuery, SqlResult};

use super::confirm;
use crate::{
    args::{ListObjects, OneObject},
    client::Client,
    fault::Fault,
    table::{self, Output, Table, bytes, print_text, printable},
    times,
};

pub(super) const PATH: &str = "objects";
/// The most that are listed; beyond, a filter helps more than a longer list.
const MAX_LISTED: usize = 10_000;
/// The most keys that are read.
const MAX_KEYS: usize = 100_000;

pub async fn list(client: &Client, ask: &ListObjects) -> Result<(), Fault> {
    let mut query = vec![("deployment", ask.deployment.clone()), ("limit", "500".to_owned())];
    query.extend(ask.class.clone().map(|class| ("class", class)));
    query.extend(ask.id.clone().map(|id| ("id", id)));
    query.extend(ask.name.clone().map(|name| ("name", name)));
    if ask.live {
        query.push(("live", "true".to_owned()));
    }
    let mut objects = Vec::new();
    loop {
        let page: Objects = client.get_with(&[PATH], &query).await?;
        objects.extend(page.items);
        for host in page.silent_hosts {
            eprintln!("warning: {} does not answer: its objects are missing here", printable(&host));
        }
        query.retain(|(name, _)| *name != "cursor");
        match page.next_cursor {
            Some(next) if objects.len() < MAX_LISTED => query.push(("cursor", next)),
            Some(_) => {
                eprintln!("warning: there are more; --class, --id and --name narrow them down");
                break;
            }
            None => break,
        }
    }
    table::print(ask.json.output(), &objects, "No objects.", || present(&objects))
}

fn present(objects: &[ObjectInfo]) -> Table {
    let mut table = Table::new(&["CLASS", "ID", "NAME", "STATE", "HOST", "SIZE", "SOCKETS", "USED"]);
    for object in objects {
        table.row([
            object.class.clone(),
            object.id.clone(),
            object.name.clone().unwrap_or_default(),
            object.state().word().to_owned(),
            object.host.clone(),
            bytes(object.bytes),
            object.sockets.to_string(),
            object.last_used_at.as_deref().map(times::relative_text).unwrap_or_default(),
        ]);
    }
    table
}

/// Its id: as it was given, or of the one that has this name, or whose id begins so.
pub(super) async fn id(client: &Client, ask: &OneObject) -> Result<String, Fault> {
    if ask.object.len() == ID_DIGITS && ask.object.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(ask.object.to_ascii_lowercase());
    }
    for way in Sought::ways(&ask.object) {
        let wanted = match way {
            Sought::Name(name) => ("name", name),
            Sought::Id(digits) => ("id", digits),
        };
        let query = [("deployment", ask.deployment.clone()), ("class", ask.class.clone()), wanted];
        let found: Objects = client.get_with(&[PATH], &query).await?;
        match found.items.as_slice() {
            [] => {}
            [one] => return Ok(one.id.clone()),
            [_, _, ..] => {
                return Err(Fault::Usage(format!("'{}' fits more than one object: give more of its id", ask.object)));
            }
        }
    }
    Err(Fault::NotFound(format!("there is no {} '{}' that a host knows", ask.class, ask.object)))
}

pub async fn kv(client: &Client, ask: &OneObject, output: Output) -> Result<(), Fault> {
    let id = id(client, ask).await?;
    let mut entries: Vec<KvEntry> = Vec::new();
    let mut start = String::new();
    loop {
        let query = [("start", start), ("limit", "500".to_owned())];
        let page: KvEntries = client.get_with(&[PATH, &ask.deployment, &ask.class, &id, "kv"], &query).await?;
        entries.extend(page.items);
        match page.next_start {
            Some(next) if entries.len() < MAX_KEYS => start = next,
            Some(_) => {
                eprintln!("warning: only the first {MAX_KEYS} keys are shown");
                break;
            }
            None => break,
        }
    }
    table::print(output, &entries, "No keys.", || {
        let mut table = Table::new(&["KEY", "SIZE", "VALUE"]);
        for entry in &entries {
            let value = entry.text.clone().unwrap_or_else(|| format!("0x{}", entry.value));
            table.row([entry.key.clone(), bytes(entry.bytes), value]);
        }
        table
    })
}

pub async fn sql(client: &Client, ask: &OneObject, query: &str, output: Output) -> Result<(), Fault> {
    let id = id(client, ask).await?;
    let body = SqlQuery { query: query.to_owned() };
    let result: SqlResult = client.post(&[PATH, &ask.deployment, &ask.class, &id, "sql"], &body).await?;
    if result.more {
        eprintln!("warning: only the first {} rows are shown", result.rows.len());
    }
    match output {
        Output::Json => table::print_json(&result),
        Output::People => print_text(&rows(&result)),
    }
}

/// Tabs between columns: what a query gives has no widths that are known before.
fn rows(result: &SqlResult) -> String {
    let mut text = result.columns.iter().map(|name| printable(name)).collect::<Vec<_>>().join("\t");
    text.push('\n');
    for row in &result.rows {
        text.push_str(&row.iter().map(|value| printable(&cell(value))).collect::<Vec<_>>().join("\t"));
        text.push('\n');
    }
    text
}

fn cell(value: &serde_json::Value) -> String {
    match (value, value.get("hex").and_then(|hex| hex.as_str())) {
        (_, Some(hex)) => format!("x'{hex}'"),
        (serde_json::Value::String(text), None) => text.clone(),
        (other, None) => other.to_string(),
    }
}

pub async fn delete(client: &Client, ask: &OneObject, yes: bool) -> Result<(), Fault> {
    let id = id(client, ask).await?;
    if !yes {
        confirm(id.get(..8).unwrap_or(&id), "all that the object holds is lost")?;
    }
    client.delete(&[PATH, &ask.deployment, &ask.class, &id]).await?;
    eprintln!("{} {id} is deleted.", printable(&ask.class));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_each_object_is_at() {
        let object = |name: &str, is_live, is_quarantined| ObjectInfo {
            class: "Room".to_owned(),
            id: "0f".repeat(4),
            name: Some(name.to_owned()),
            host: "lab".to_owned(),
            host_id: uuid::Uuid::nil(),
            is_live,
            is_quarantined,
            bytes: 4096,
            last_used_at: None,
            alarm_at: None,
            sockets: 2,
            running: 0,
        };
        // One that was given up may still be in memory.
        let objects = [object("a", true, false), object("b", false, false), object("c", true, true)];
        assert_eq!(
            present(&objects).render(),
            "CLASS  ID        NAME  STATE     HOST  SIZE   SOCKETS  USED\n\
             Room   0f0f0f0f  a     live      lab   4 KiB  2\n\
             Room   0f0f0f0f  b     at rest   lab   4 KiB  2\n\
             Room   0f0f0f0f  c     given up  lab   4 KiB  2\n"
        );
    }

    #[test]
    fn rows_are_one_line_each() {
        let result = SqlResult {
            columns: vec!["a".to_owned(), "b".to_owned()],
            rows: vec![
                vec![1.into(), "x\ty".into()],
                vec![serde_json::Value::Null, serde_json::json!({ "hex": "00ff" })],
            ],
            more: false,
        };
        assert_eq!(rows(&result), "a\tb\n1\tx\u{fffd}y\nnull\tx'00ff'\n");
    }
}
