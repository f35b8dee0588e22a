//! `berth zero-certificates`.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use api::zero_certificates::{CreateZeroCertificate, CreatedZeroCertificate, ZeroCertificate};
use domain::certificates::JoinPolicy;

use crate::{
    args::{self, ZeroCertificates},
    client::Client,
    commands::by_id,
    fault::Fault,
    table::{self, Output, Table},
    times,
};

const PATH: &[&str] = &["zero-certificates"];

pub async fn command(client: &Client, ask: &ZeroCertificates) -> Result<(), Fault> {
    match ask {
        ZeroCertificates::Create(ask) => create(client, ask).await,
        ZeroCertificates::List(json) => list(client, json.output()).await,
        ZeroCertificates::Revoke { id } => revoke(client, id).await,
    }
}

async fn create(client: &Client, ask: &args::CreateZeroCertificate) -> Result<(), Fault> {
    let length = times::length(&ask.length).map_err(|error| Fault::Usage(error.to_string()))?;
    let lifetime_hours = u32::try_from(length.as_secs() / 3_600)
        .ok()
        .filter(|hours| *hours > 0 && length.as_secs() % 3_600 == 0)
        .ok_or_else(|| {
            Fault::Usage(format!("--for {}: a zero certificate lives whole hours, 24h or 7d", ask.length))
        })?;
    // What cannot be written is better known before the server made it.
    if let Some(file) = &ask.output
        && file.exists()
    {
        return Err(Fault::Usage(format!("{} is there already: choose another name", file.display())));
    }
    let body = CreateZeroCertificate {
        name: ask.name.clone(),
        max_uses: ask.uses,
        lifetime_hours,
        join: if ask.approval { JoinPolicy::Approval } else { JoinPolicy::Open },
    };
    let created: CreatedZeroCertificate = client.post(PATH, &body).await?;
    let name = Path::new(&created.file_name).file_name().map_or_else(|| PathBuf::from("zero.toml"), PathBuf::from);
    let file = ask.output.clone().unwrap_or(name);
    if let Err(fault) = write_new(&file, &created.file) {
        // Nobody has the file, so nobody can use it: better gone than forgotten.
        let id = created.zero_certificate.id.to_string();
        return match client.tell(&["zero-certificates", &id, "revoke"], &serde_json::json!({})).await {
            Ok(()) => Err(fault),
            Err(other) => Err(Fault::Failed(format!("{fault}; and {id} could not be revoked: {other}"))),
        };
    }
    eprintln!(
        "{} lets {} host(s) join until {}. Carry it to the host and run: berth-agent enroll {} && berth-agent run",
        file.display(),
        created.zero_certificate.max_uses,
        times::local_text(&created.zero_certificate.expires_at),
        file.file_name().unwrap_or_default().to_string_lossy()
    );
    Ok(())
}

/// A file that was not there before, its owner's alone.
fn write_new(path: &Path, text: &str) -> Result<(), Fault> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Fault::io(format!("cannot write {}", path.display())))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| {
        // Half a key helps nobody.
        drop(fs::remove_file(path));
        Fault::Io { what: format!("cannot write {}", path.display()), source }
    })
}

async fn list(client: &Client, output: Output) -> Result<(), Fault> {
    let items: Vec<ZeroCertificate> = client.list(PATH, &[]).await?;
    table::print(output, &items, "No zero certificates.", || {
        let mut table = Table::new(&["ID", "NAME", "STATE", "USES", "JOIN", "EXPIRES"]);
        for item in &items {
            table.row([
                item.id.to_string(),
                item.name.clone(),
                item.state.to_string(),
                format!("{}/{}", item.uses, item.max_uses),
                item.join.to_string(),
                times::relative_text(&item.expires_at),
            ]);
        }
        table
    })
}

async fn revoke(client: &Client, id: &str) -> Result<(), Fault> {
    let items: Vec<ZeroCertificate> = client.list(PATH, &[]).await?;
    let item = by_id(&items, "zero certificate", id, |item| item.id)?;
    client.tell(&["zero-certificates", &item.id.to_string(), "revoke"], &serde_json::json!({})).await?;
    eprintln!("No more hosts can join with '{}'. Those that did stay.", table::printable(&item.name));
    Ok(())
}
