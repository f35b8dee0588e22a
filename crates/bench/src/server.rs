//! A server of the benchmark's own: a temporary folder, free ports, the release binary beside this one.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Stopped when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub url: String,
    /// An admin's token.
    pub token: String,
    dir: TempDir,
    variables: Vec<(String, String)>,
}

/// A binary that was built beside this one.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("{} is not there; run it as `cargo xtask bench`, which builds it", path.display());
    }
    Ok(path)
}

impl Server {
    /// `database` as in the configuration; `None` is SQLite.
    pub fn start(database: Option<&str>) -> Result<Self> {
        let mut place = place()?;
        let variables = &mut place.variables;
        if let Some(database) = database {
            variables.push(("BERTH_DATABASE__URL".to_owned(), database.to_owned()));
            variables.push(("BERTH_DATABASE__MAX_CONNECTIONS".to_owned(), "32".to_owned()));
        }
        let token = admin(variables, &["create", "--email", "bench@example.org", "--token-only"])?.trim().to_owned();
        Self::spawn(place, token)
    }

    /// Another one on the same database and with the same key.
    pub fn beside(first: &Self) -> Result<Self> {
        let mut place = place()?;
        let of_database = first.variables.iter().filter(|(name, _)| name.starts_with("BERTH_DATABASE"));
        place.variables.extend(of_database.cloned());
        let key = first.dir().join("server.key").display().to_string();
        place.variables.push(("BERTH_SERVER_KEY_FILE".to_owned(), key));
        Self::spawn(place, first.token.clone())
    }

    fn spawn(Place { dir, url, variables }: Place, token: String) -> Result<Self> {
        let child = spawn(&variables)?;
        let mut server = Self { child, url, token, dir, variables };
        server.wait_until_ready()?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `berth-server admin ARGS…` on the server's database and returns what it prints.
    pub fn admin(&self, args: &[&str]) -> Result<String> {
        admin(&self.variables, args)
    }

    /// Kills it at once and starts it again on the same data and ports.
    pub fn restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.variables)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let address = self.url.trim_start_matches("http://").to_owned();
        let began = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("berth-server ended with {status}");
            }
            if began.elapsed() > Duration::from_secs(60) {
                bail!("berth-server does not answer on {address}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Memory that the server holds now, bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(self.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot stop berth-server {}: {error}", self.child.id());
        }
    }
}

/// A folder and ports of a server's own, and the variables that say so.
struct Place {
    dir: TempDir,
    url: String,
    variables: Vec<(String, String)>,
}

fn place() -> Result<Place> {
    let dir = tempfile::tempdir()?;
    let (port, agents) = (testkit::free_port(), testkit::free_port());
    std::fs::create_dir_all(dir.path().join("site/pkg"))?;
    let url = format!("http://127.0.0.1:{port}");
    let variables = vec![
        ("BERTH_LISTEN".to_owned(), format!("127.0.0.1:{port}")),
        ("BERTH_PUBLIC_URL".to_owned(), url.clone()),
        ("BERTH_AGENTS__LISTEN".to_owned(), format!("127.0.0.1:{agents}")),
        ("BERTH_DATA_DIR".to_owned(), dir.path().display().to_string()),
        ("BERTH_SITE_DIR".to_owned(), dir.path().join("site").display().to_string()),
        ("BERTH_LOG__FILTER".to_owned(), "warn,server::pages=error".to_owned()),
    ];
    Ok(Place { dir, url, variables })
}

fn spawn(variables: &[(String, String)]) -> Result<Child> {
    let variables = variables.iter().map(|(k, v)| (k, v));
    Command::new(binary("berth-server")?)
        .arg("run")
        .envs(variables)
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start berth-server")
}

fn admin(variables: &[(String, String)], args: &[&str]) -> Result<String> {
    let output = Command::new(binary("berth-server")?)
        .arg("admin")
        .args(args)
        .envs(variables.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        bail!("berth-server admin {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Memory of a process, bytes, from /proc.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok())
        .context("no VmRSS in /proc")?;
    Ok(kib * 1024)
}
