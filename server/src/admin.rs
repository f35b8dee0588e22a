//! `berth-server admin …`: what the operator does on the server's own database, beside a running server.

use std::{
    io::{Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use domain::certificates::JoinPolicy;
use jiff::SignedDuration;
use services::{Services, people::operator, zero_certificates};

use crate::config::Config;

#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Make an admin; the first also makes the tenant.
    Create(Create),
    /// Make a zero certificate, with which hosts join.
    ZeroCertificate(ZeroCertificate),
    /// Print a one-time sign-in link for a person.
    Link {
        #[arg(long)]
        email: String,
    },
    /// Fill an empty installation with a busy team's people and bookings, to look at: never where people work.
    Demo {
        /// Wait until agents offer so many machines.
        #[arg(long, default_value_t = 1)]
        machines: usize,
    },
}

/// How long `admin demo` waits for the machines.
const DEMO_WAIT: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub struct Create {
    #[arg(long)]
    email: String,
    /// The part of the address before the @ where it is left away.
    #[arg(long)]
    name: Option<String>,
    /// Read the password from standard input (its first line). An admin who is there already gets it as their new one.
    #[arg(long, conflicts_with = "token_only")]
    password_stdin: bool,
    /// Print an API token and nothing else, for scripts; the person gets no password.
    #[arg(long)]
    token_only: bool,
}

#[derive(Debug, Args)]
pub struct ZeroCertificate {
    /// How many hosts may join with it.
    #[arg(long)]
    uses: u32,
    /// How many hours it is good for.
    #[arg(long)]
    hours: u32,
    /// Hosts wait for an admin's approval.
    #[arg(long)]
    approval: bool,
    /// For people: what it was made for.
    #[arg(long, default_value = "made at the server")]
    name: String,
    /// Where to write it; the file must not be there. Whoever can read it can enrol hosts.
    #[arg(long)]
    out: PathBuf,
}

async fn zero_certificate(services: &Services, ask: ZeroCertificate) -> Result<()> {
    let ZeroCertificate { uses, hours, approval, name, out } = ask;
    let join = if approval { JoinPolicy::Approval } else { JoinPolicy::Open };
    // Taken before anything is made, so that a path that cannot be written costs no certificate.
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&out)
        .with_context(|| format!("cannot make {}", out.display()))?;
    let lifetime = SignedDuration::from_hours(hours.into());
    let ask = zero_certificates::Ask { name, max_uses: uses, lifetime, join };
    let written = match zero_certificates::create_as_operator(services, ask).await {
        Ok(created) => file.write_all(created.file.as_bytes()).and_then(|()| file.sync_all()).map_err(Into::into),
        Err(error) => Err(anyhow::Error::from(error)),
    };
    if written.is_err() {
        std::fs::remove_file(&out).with_context(|| format!("cannot remove {}", out.display()))?;
    }
    written.with_context(|| format!("no zero certificate in {}", out.display()))?;
    println!("{}", out.display());
    Ok(())
}

/// The longest line that is read as a password, in bytes.
const MAX_LINE_BYTES: u64 = 4_096;

fn password_from(input: impl Read) -> Result<String> {
    let mut text = String::new();
    input.take(MAX_LINE_BYTES).read_to_string(&mut text).context("cannot read the password from standard input")?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        bail!("standard input holds no password; use for example: berth-server admin create … --password-stdin < FILE");
    }
    Ok(line.to_owned())
}

/// Does it; what the operator asked for goes to standard output.
pub async fn run(config: &Config, command: Admin) -> Result<()> {
    // Read before the database is opened: nothing waits for a slow typist.
    let password = match &command {
        Admin::Create(create) if create.password_stdin => Some(password_from(std::io::stdin().lock())?),
        Admin::Create(_) | Admin::ZeroCertificate(_) | Admin::Link { .. } | Admin::Demo { .. } => None,
    };
    let services = crate::open(config).await?;
    match command {
        Admin::Create(Create { email, name, token_only: true, .. }) => {
            println!("{}", operator::create_admin_token(&services, &email, name.as_deref()).await?);
        }
        Admin::Create(Create { email, name, .. }) => {
            let without = password.is_none();
            let person = operator::create_admin(&services, &email, name.as_deref(), password).await?;
            if without {
                println!("{}", operator::link(&services, &person.email).await?.url);
            } else {
                println!("{} can sign in at {}", person.email, config.public_url);
            }
        }
        Admin::ZeroCertificate(ask) => zero_certificate(&services, ask).await?,
        Admin::Demo { machines } => {
            let began = Instant::now();
            while services::demo::machines(&services).await? < machines {
                if began.elapsed() > DEMO_WAIT {
                    bail!("agents do not offer {machines} machines after {} s", DEMO_WAIT.as_secs());
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let made = services::demo::seed(&services).await?;
            println!("{} people, {} reservations", made.people, made.reservations);
        }
        Admin::Link { email } => println!("{}", operator::link(&services, &email).await?.url),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line() {
        assert_eq!(password_from("secret words\n".as_bytes()).unwrap(), "secret words");
        assert_eq!(password_from(" with space \r\nmore".as_bytes()).unwrap(), " with space ");
        assert!(password_from("".as_bytes()).is_err());
        assert!(password_from("\n".as_bytes()).is_err());
    }
}
