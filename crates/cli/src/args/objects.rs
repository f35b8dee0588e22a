//! What `berth objects` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Json;

#[derive(Debug, Subcommand)]
pub enum Objects {
    /// Run a project on this computer, and again after each change of its files
    Dev(ObjectsDev),
    #[command(flatten)]
    Deployed(Deployed),
}

#[derive(Debug, Args)]
pub struct ObjectsDev {
    /// The folder with wrangler.toml, wrangler.json or wrangler.jsonc
    #[arg(default_value = ".")]
    pub directory: PathBuf,
    /// Port of 127.0.0.1; 0 takes one that is free
    #[arg(long, default_value_t = 8787)]
    pub port: u16,
    /// Where what objects write is kept [default: .berth/objects in the folder]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// What the server does.
#[derive(Debug, Subcommand)]
pub enum Deployed {
    /// Have the hosts run a project: a new deployment, or a new version of one of yours
    Deploy(Deploy),
    /// List deployments
    List(Json),
    /// List a deployment's versions, newest first
    Versions {
        /// Its name or id
        deployment: String,
        #[command(flatten)]
        json: Json,
    },
    /// Run another version: back to an earlier one, or forward again; what objects hold stays as it is
    RunVersion {
        /// Its name or id
        deployment: String,
        /// The version's number
        number: u32,
    },
    /// Delete a deployment, its versions and all that its objects hold
    Delete {
        /// Its name or id
        deployment: String,
        /// Without asking for its name
        #[arg(long)]
        yes: bool,
    },
    /// List a deployment's objects that hold something or are in memory
    Objects(ListObjects),
    /// Print what a deployment, or one of its objects, writes to its console
    Console(Console),
    /// List an object's keys and values; its code does not run
    Kv {
        #[command(flatten)]
        object: OneObject,
        #[command(flatten)]
        json: Json,
    },
    /// Ask an object's database; only what reads is allowed, its code does not run
    Sql {
        #[command(flatten)]
        object: OneObject,
        /// One statement
        query: String,
        #[command(flatten)]
        json: Json,
    },
    /// End an object and delete all that it holds
    DeleteObject {
        #[command(flatten)]
        object: OneObject,
        /// Without asking for the beginning of its id
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub struct ListObjects {
    /// The deployment's name or id
    pub deployment: String,
    /// Only those of this class
    #[arg(long)]
    pub class: Option<String>,
    /// Only those whose ids begin so
    #[arg(long, value_name = "DIGITS")]
    pub id: Option<String>,
    /// Only the one of this name
    #[arg(long)]
    pub name: Option<String>,
    /// Only those in memory
    #[arg(long)]
    pub live: bool,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Args)]
pub struct OneObject {
    /// The deployment's name or id
    pub deployment: String,
    /// Its class
    pub class: String,
    /// Its name, its id, or as much of its id's beginning as names it alone
    pub object: String,
}

#[derive(Debug, Args)]
pub struct Console {
    /// The deployment's name or id
    pub deployment: String,
    /// Of one object: its class
    #[arg(requires = "object")]
    pub class: Option<String>,
    /// Of one object: its name, its id, or as much of its id's beginning as names it alone
    pub object: Option<String>,
    /// A JSON object a line
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Args)]
pub struct Deploy {
    /// The folder with wrangler.toml, wrangler.json or wrangler.jsonc
    #[arg(default_value = ".")]
    pub directory: PathBuf,
    /// Another name than the one in the file
    #[arg(long)]
    pub name: Option<String>,
    /// What is new in this version
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
    #[command(flatten)]
    pub json: Json,
}
