//! Which server, and with which token: command line, then environment, then the person's file.
//!
//! The file is `$XDG_CONFIG_HOME/berth/credentials.toml` (`~/.config/berth/…`), readable by its owner alone. A token is
//! kept with the address that it belongs to and is sent to no other.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// Where `cargo xtask dev` and a server without a configuration listen.
pub const DEFAULT_SERVER: &str = "http://localhost:8080";
/// The largest credentials file that is read, bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// A token, which no debug output shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Trimmed; refused if it cannot go into a header.
    pub fn new(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        if text.is_empty() || text.len() > 1_024 || !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(Fault::Usage("that is no token: it is one word that begins with berth_".to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// What the command line and the environment say.
#[derive(Debug, Clone, Default)]
pub struct Given {
    pub server: Option<String>,
    pub token: Option<String>,
    /// A PEM file with the authority that signed the server's certificate, beside the system's own.
    pub ca: Option<PathBuf>,
}

/// What is in force.
#[derive(Debug, Clone)]
pub struct Settings {
    pub server: Url,
    pub token: Option<Secret>,
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The server of commands that name none.
    current: Option<String>,
    #[serde(default)]
    servers: BTreeMap<String, Known>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    token: Secret,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
}

/// An address of a server, without a path of its own. A name without `http://` or `https://` means the latter: the token
/// would travel in clear otherwise.
pub fn server_url(text: &str) -> Result<Url, Fault> {
    let text = text.trim();
    let bad = |why: &str| Fault::Usage(format!("'{text}' is no server's address: {why}"));
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let mut url = Url::parse(&with_scheme).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("use https://HOST or http://HOST:PORT"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("it names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it holds a name or password; a token goes to berth login"));
    }
    url.set_query(None);
    url.set_fragment(None);
    url.set_path("/");
    Ok(url)
}

fn name_of(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// `$XDG_CONFIG_HOME/berth/credentials.toml`.
pub fn file_path() -> Result<PathBuf, Fault> {
    let base = match env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(
            env::var_os("HOME")
                .ok_or_else(|| Fault::Usage("neither XDG_CONFIG_HOME nor HOME is set: use BERTH_TOKEN".to_owned()))?,
        )
        .join(".config"),
    };
    Ok(base.join("berth").join("credentials.toml"))
}

fn read(path: &Path) -> Result<File, Fault> {
    let name = path.display().to_string();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => return Err(Fault::Io { what: format!("cannot read {name}"), source: error }),
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Fault::Usage(format!("{name} holds tokens and others may read it: run chmod 600 '{name}'")));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(Fault::Usage(format!("{name} is too large to be berth's file")));
    }
    let text = fs::read_to_string(path).map_err(Fault::io(format!("cannot read {name}")))?;
    // The parser's own text would show a line of the file, and with it a token.
    toml::from_str(&text).map_err(|_| Fault::Usage(format!("{name} is damaged: delete it and run berth login")))
}

/// Writes beside and renames, so that a full disk leaves the old file.
fn write(path: &Path, file: &File) -> Result<(), Fault> {
    let name = path.display().to_string();
    let what = || format!("cannot write {name}");
    let text = toml::to_string(file).map_err(|error| Fault::Failed(format!("{}: {error}", what())))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(Fault::io(what()))?;
    let temporary = dir.join(format!(".credentials.{}", std::process::id()));
    let result = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut out| out.write_all(text.as_bytes()).and_then(|()| out.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    result.map_err(|source| {
        // The first error is the one to tell; a leftover is harmless.
        drop(fs::remove_file(&temporary));
        Fault::Io { what: what(), source }
    })
}

/// What is in force for a command.
pub fn resolve(given: &Given) -> Result<Settings, Fault> {
    let path = file_path();
    let file = match (&path, &given.token, &given.server) {
        // All is said already: a damaged or missing home is no obstacle.
        (_, Some(_), Some(_)) | (Err(_), Some(_), None) => File::default(),
        (Ok(path), _, _) => read(path)?,
        (Err(_), None, _) => File::default(),
    };
    let server = server_url(given.server.as_deref().or(file.current.as_deref()).unwrap_or(DEFAULT_SERVER))?;
    let known = file.servers.get(&name_of(&server));
    let token = match &given.token {
        Some(token) => Some(Secret::new(token)?),
        None => known.map(|known| known.token.clone()),
    };
    let ca = given.ca.clone().or_else(|| known.and_then(|known| known.ca.clone()));
    Ok(Settings { server, token, ca })
}

/// Keeps the token for its server, which becomes the current one. Returns the file.
pub fn remember(settings: &Settings) -> Result<PathBuf, Fault> {
    let path = file_path()?;
    let mut file = read(&path)?;
    let Some(token) = settings.token.clone() else { return Err(Fault::NotSignedIn) };
    let ca = settings.ca.as_ref().map(|ca| fs::canonicalize(ca).unwrap_or_else(|_| ca.clone()));
    file.current = Some(name_of(&settings.server));
    file.servers.insert(name_of(&settings.server), Known { token, ca });
    write(&path, &file)?;
    Ok(path)
}

/// Forgets the token of a server. False if there was none.
pub fn forget(server: &Url) -> Result<bool, Fault> {
    let path = file_path()?;
    let mut file = read(&path)?;
    let known = file.servers.remove(&name_of(server)).is_some();
    if known {
        write(&path, &file)?;
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, expected: &str| {
            assert_eq!(server_url(text).map(|url| url.to_string()).ok().as_deref(), Some(expected), "{text}");
        };
        check("http://localhost:8080", "http://localhost:8080/");
        check("berth.example.com", "https://berth.example.com/");
        check(" https://berth.example.com/machines?x#y ", "https://berth.example.com/");
        for text in ["", "ftp://x", "https://", "https://me:secret@x"] {
            assert!(server_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_one_word() {
        assert!(Secret::new(" berth_abc\n").is_ok_and(|secret| secret.reveal() == "berth_abc"));
        for text in ["", "two words", "a\u{0}b", "naïve"] {
            assert!(Secret::new(text).is_err(), "{text}");
        }
        assert_eq!(format!("{:?}", Secret::new("berth_abc").ok()), "Some(Secret(…))");
    }

    #[test]
    fn the_file_is_its_owners_alone_and_a_token_stays_with_its_server() {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = dir.path().join("berth").join("credentials.toml");
        let mut file = File { current: Some("http://a".to_owned()), ..File::default() };
        let token = Secret::new("berth_a").unwrap_or_else(|error| panic!("{error}"));
        file.servers.insert("http://a".to_owned(), Known { token, ca: None });
        write(&path, &file).unwrap_or_else(|error| panic!("{error}"));
        let mode = fs::metadata(&path).map(|m| m.permissions().mode() & 0o777).unwrap_or(0);
        assert_eq!(mode, 0o600);
        let back = read(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(back.servers.contains_key("http://a") && !back.servers.contains_key("http://b"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap_or_else(|error| panic!("{error}"));
        assert!(read(&path).is_err_and(|fault| fault.to_string().contains("chmod 600")));
    }
}
