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
        version: u32,
    },
    /// Delete a deployment, its versions and all that its objects hold
    Delete {
        /// Its name or id
        deployment: String,
        /// Without asking for its name
        #[arg(long)]
        yes: bool,
    },
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
