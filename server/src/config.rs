//! The server's configuration: one TOML file, and environment variables over it.
//!
//! `BERTH_` and the key's path in capitals, `__` between its parts, sets a value: `BERTH_DATABASE__URL` is `url` in
//! `[database]`. `berth-server check` prints everything that is wrong, not only the first.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use domain::proxies::TrustedProxies;
use jiff::SignedDuration;
use serde::Deserialize;
use services::certificates::{ServerKey, ServerKeyError};

/// The path of the configuration file, unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/berth/server.toml";
const PREFIX: &str = "BERTH_";

/// See `deploy/berth-server.toml` for every key with its meaning.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where browsers and the API are served.
    pub listen: SocketAddr,
    /// What people type: links and the Origin check are made from it.
    pub public_url: String,
    /// Notebooks are served from `NAME.` and this. Empty means `apps.` and the host of `public_url`, or `localhost` where
    /// that is this machine.
    pub apps_domain: String,
    /// The server's own files: SQLite database, sealing key.
    pub data_dir: PathBuf,
    /// Holds the key that seals the certificate authorities' keys, 64 hex digits, mode 0600; made if it is not there. Empty
    /// means `server.key` in `data_dir`. Replicas need the same.
    pub server_key_file: PathBuf,
    /// The built web page (`cargo xtask web` makes it).
    pub site_dir: PathBuf,
    /// Addresses and networks of reverse proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: TrustedProxies,
    pub database: Database,
    pub agents: Agents,
    pub replicas: Replicas,
    pub reservations: Reservations,
    pub log: Log,
}

#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite:FILE` or `postgres://USER:PASSWORD@HOST/NAME`; empty means `berth.db` in `data_dir`.
    pub url: String,
    pub max_connections: u32,
}

impl std::fmt::Debug for Database {
    /// The address may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// Where agents dial in: TLS with certificates of Berth's own.
    pub listen: SocketAddr,
    /// Names and addresses by which agents reach it; they stand in its certificate and the first in zero certificates.
    pub names: Vec<String>,
    pub max_links: usize,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replicas {
    /// `HOST:PORT` where the other servers on the same database reach this one's agents' port; empty means what
    /// `agents.listen` says, or the first of `agents.names` where that is every address.
    pub address: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reservations {
    pub max_length_hours: u32,
    pub max_ahead_days: u32,
    pub no_show_minutes: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// As in tracing's EnvFilter: `info`, `services=debug,info`.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: "http://localhost:8080".to_owned(),
            apps_domain: String::new(),
            data_dir: PathBuf::from("/var/lib/berth"),
            server_key_file: PathBuf::new(),
            site_dir: PathBuf::from("/usr/share/berth/site"),
            trusted_proxies: TrustedProxies::default(),
            database: Database::default(),
            agents: Agents::default(),
            replicas: Replicas::default(),
            reservations: Reservations::default(),
            log: Log::default(),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: String::new(), max_connections: 8 }
    }
}

impl Default for Agents {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            max_links: 12_000,
        }
    }
}

impl Default for Reservations {
    fn default() -> Self {
        Self { max_length_hours: 24 * 14, max_ahead_days: 90, no_show_minutes: 30 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}. Give the file with --config, or make it from deploy/berth-server.toml.")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Parse { path: PathBuf, source: toml::de::Error },
    #[error("the environment variable {name}: {why}")]
    Environment { name: String, why: String },
}

impl Config {
    /// Reads `path`, or the defaults if it is `None` and the usual file is not there, and puts `environment` over it.
    pub fn load(path: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let (path, text) = match path {
            Some(path) => (path.to_owned(), read(path)?),
            None if Path::new(DEFAULT_PATH).exists() => (DEFAULT_PATH.into(), read(Path::new(DEFAULT_PATH))?),
            None => (PathBuf::from("the environment"), String::new()),
        };
        // Read once by itself, so that an error names its line.
        toml::from_str::<Config>(&text).map_err(|source| ConfigError::Parse { path: path.clone(), source })?;
        let mut table: toml::Table =
            toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.clone(), source })?;
        for (name, value) in environment {
            let Some(key) = name.strip_prefix(PREFIX).filter(|key| !CLIENT_VARIABLES.contains(key)) else { continue };
            // `BERTH_LOG__FILTER` sorts behind it, and so goes before it.
            let key = if key == LOG_VARIABLE { "LOG__FILTER" } else { key };
            let parts: Vec<String> = key.split("__").map(str::to_lowercase).collect();
            put(&mut table, &parts, value).map_err(|why| ConfigError::Environment { name: name.clone(), why })?;
        }
        Config::deserialize(toml::Value::Table(table)).map_err(|source| ConfigError::Parse { path, source })
    }

    /// Everything that is wrong, each with what to do.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        let url = self.public_url.parse::<http::Uri>().ok();
        expect(
            url.as_ref().is_some_and(|url| {
                matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() && url.path() == "/"
            }),
            "public_url: write http://HOST[:PORT] or https://HOST[:PORT], without a path",
        );
        let is_domain = |text: &str| {
            text.split('.').all(|label| {
                !label.is_empty() && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            })
        };
        expect(
            self.apps_domain.is_empty() || is_domain(&self.apps_domain),
            "apps_domain: write a domain in small letters, such as apps.berth.example; *.apps.berth.example has to lead here",
        );
        let is_portals = |host: &str| {
            let rest = host.strip_suffix(self.apps_domain.as_str());
            !self.apps_domain.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        expect(
            !url.as_ref().and_then(http::Uri::host).is_some_and(is_portals),
            "apps_domain: has to differ from the host of public_url, which may not lie below it either, or notebooks' pages \
             would be the portal's own",
        );
        expect(self.data_dir.is_absolute(), "data_dir: write an absolute path");
        expect(
            self.site_dir.join("pkg").is_dir(),
            "site_dir: holds no built page (no folder pkg); build it with `cargo xtask web` and name the folder",
        );
        expect(
            self.database.url.is_empty()
                || ["sqlite:", "postgres:", "postgresql:"].iter().any(|p| self.database.url.starts_with(p)),
            "database.url: write sqlite:FILE or postgres://USER:PASSWORD@HOST/NAME",
        );
        expect((1..=200).contains(&self.database.max_connections), "database.max_connections: 1 to 200");
        expect(
            !self.agents.names.is_empty(),
            "agents.names: name at least one address by which agents reach the server",
        );
        expect(
            self.agents.listen != self.listen || self.listen.port() == 0,
            "agents.listen: has to differ from listen",
        );
        expect(
            self.replicas.address.is_empty()
                || self
                    .replicas
                    .address
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()),
            "replicas.address: write HOST:PORT, where the other servers reach this one's agents' port",
        );
        expect((1..=100_000).contains(&self.agents.max_links), "agents.max_links: 1 to 100000");
        expect(
            (1..=24 * 365).contains(&self.reservations.max_length_hours),
            "reservations.max_length_hours: 1 to 8760",
        );
        expect((1..=365).contains(&self.reservations.max_ahead_days), "reservations.max_ahead_days: 1 to 365");
        expect((1..=24 * 60).contains(&self.reservations.no_show_minutes), "reservations.no_show_minutes: 1 to 1440");
        expect(
            self.log.filter.parse::<tracing_subscriber::EnvFilter>().is_ok(),
            "log.filter: write a level (info) or target=level pairs (services=debug,info)",
        );
        problems
    }

    pub fn database_url(&self) -> String {
        if self.database.url.is_empty() {
            format!("sqlite:{}", self.data_dir.join("berth.db").display())
        } else {
            self.database.url.clone()
        }
    }

    pub fn is_https(&self) -> bool {
        self.public_url.starts_with("https:")
    }

    /// What stands behind a notebook's or deployment's name in its host.
    pub fn apps_domain(&self) -> String {
        if !self.apps_domain.is_empty() {
            return self.apps_domain.clone();
        }
        let url = self.public_url.parse::<http::Uri>().ok();
        match url.as_ref().and_then(http::Uri::host) {
            // Addresses have no subdomains; browsers find every name below `localhost` on this machine.
            Some(host) if host != "localhost" && host.trim_matches(['[', ']']).parse::<IpAddr>().is_err() => {
                format!("apps.{host}")
            }
            Some(_) | None => "localhost".to_owned(),
        }
    }

    /// Where notebooks and deployments answer.
    pub fn apps(&self) -> services::Apps {
        let url = self.public_url.parse::<http::Uri>().ok();
        let port = url.as_ref().and_then(http::Uri::port_u16).map(|port| format!(":{port}")).unwrap_or_default();
        services::Apps {
            scheme: if self.is_https() { "https" } else { "http" },
            behind: format!("{}{port}", self.apps_domain()),
        }
    }

    /// The origin of the notebook of this name.
    pub fn app_origin(&self, name: &str) -> String {
        self.apps().origin(name)
    }

    /// The key that seals the certificate authorities' keys.
    pub fn server_key(&self) -> Result<ServerKey, ServerKeyError> {
        if self.server_key_file.as_os_str().is_empty() {
            ServerKey::load_or_make(&self.data_dir.join("server.key"))
        } else {
            ServerKey::load_or_make(&self.server_key_file)
        }
    }

    /// Where agents dial in, as zero certificates say it.
    pub fn agents_url(&self) -> String {
        let name = self.agents.names.first().map_or("localhost", String::as_str);
        let port = self.agents.listen.port();
        match name.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("https://[{address}]:{port}"),
            Ok(IpAddr::V4(_)) | Err(_) => format!("https://{name}:{port}"),
        }
    }

    /// Where the other servers on the database reach this one's agents' port.
    pub fn replica_address(&self) -> String {
        let listen = self.agents.listen;
        match (self.replicas.address.as_str(), listen.ip().is_unspecified()) {
            ("", false) => listen.to_string(),
            ("", true) => {
                format!("{}:{}", self.agents.names.first().map_or("localhost", String::as_str), listen.port())
            }
            (address, _) => address.to_owned(),
        }
    }

    /// What the services need of it.
    pub fn settings(&self) -> services::Settings {
        services::Settings {
            reservation_max_length: SignedDuration::from_hours(self.reservations.max_length_hours.into()),
            reservation_max_ahead: SignedDuration::from_hours(i64::from(self.reservations.max_ahead_days) * 24),
            no_show_after: SignedDuration::from_mins(self.reservations.no_show_minutes.into()),
            public_url: self.public_url.trim_end_matches('/').to_owned(),
            apps: self.apps(),
            agents_url: self.agents_url(),
            ..services::Settings::default()
        }
    }
}

/// Variables of the command line and of tools, which are no keys of the server.
const CLIENT_VARIABLES: &[&str] = &["SERVER", "TOKEN", "CA", "CONFIG", "AGENT_CONFIG", "AGENT_STATE"];
/// The agent's variable for the same; with it set, both programs log as it says.
const LOG_VARIABLE: &str = "LOG";

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

fn put(table: &mut toml::Table, parts: &[String], value: &str) -> Result<(), String> {
    match parts {
        [] => Err("names no key".to_owned()),
        [key] => {
            // Numbers, booleans and lists as TOML; everything else is a string.
            let parsed = toml::from_str::<toml::Table>(&format!("v = {value}")).ok().and_then(|mut t| t.remove("v"));
            table.insert(key.clone(), parsed.unwrap_or_else(|| toml::Value::String(value.to_owned())));
            Ok(())
        }
        [section, rest @ ..] => table
            .entry(section.clone())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("'{section}' is no section"))
            .and_then(|table| put(table, rest, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::load(Some(file.path()), &environment)
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let config = load(
            "listen = '127.0.0.1:1'\n[database]\nmax_connections = 3\n",
            &[("BERTH_DATABASE__URL", "sqlite:/x.db"), ("BERTH_LISTEN", "127.0.0.1:2"), ("BERTH_TOKEN", "secret")],
        )
        .unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.database.max_connections, 3);
        assert_eq!(config.database_url(), "sqlite:/x.db");
    }

    #[test]
    fn the_agents_variables_do_not_keep_the_server_from_starting() {
        let config =
            load("", &[("BERTH_LOG", "debug"), ("BERTH_AGENT_CONFIG", "/x"), ("BERTH_AGENT_STATE", "/y")]).unwrap();
        assert_eq!(config.log.filter, "debug");
        let config = load("", &[("BERTH_LOG", "debug"), ("BERTH_LOG__FILTER", "warn")]).unwrap();
        assert_eq!(config.log.filter, "warn");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = load("listen = '127.0.0.1:1'\nlisten_on = 3\n", &[]).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("listen_on"), "{error}");
    }

    #[test]
    fn every_problem_is_said() {
        let config = load("public_url = 'berth'\ndata_dir = 'x'\n[agents]\nnames = []\n", &[]).unwrap();
        let problems = config.problems().join("\n");
        for key in ["public_url", "data_dir", "site_dir", "agents.names"] {
            assert!(problems.contains(key), "{key} is not in: {problems}");
        }
    }

    #[test]
    fn notebooks_have_origins_of_their_own() {
        let origin = |public_url: &str, apps_domain: &str| {
            let config = Config { public_url: public_url.into(), apps_domain: apps_domain.into(), ..Config::default() };
            config.app_origin("ann")
        };
        assert_eq!(origin("http://localhost:8080", ""), "http://ann.localhost:8080");
        assert_eq!(origin("http://127.0.0.1:8080", ""), "http://ann.localhost:8080");
        assert_eq!(origin("https://berth.example", ""), "https://ann.apps.berth.example");
        assert_eq!(origin("https://berth.example", "lab.example"), "https://ann.lab.example");
        let is_told = |apps_domain: &str| {
            let text = format!("public_url = 'https://berth.example'\napps_domain = '{apps_domain}'\n");
            load(&text, &[]).unwrap().problems().join("\n").contains("apps_domain")
        };
        assert!(is_told("berth.example") && is_told("example"));
        assert!(!is_told("apps.berth.example") && !is_told("th.example"));
    }

    #[test]
    fn a_password_is_not_printed() {
        let config = load("", &[("BERTH_DATABASE__URL", "postgres://u:hunter2@h/n")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
