//! The programs themselves, as anybody would start them, to be killed at any moment.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use testkit::free_port;

use crate::site::until;

/// A child that does not outlive its test.
pub struct Program(pub Child);

impl Program {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("the program starts"))
    }
    /// kill -9.
    pub fn kill(&mut self) {
        self.0.kill().and_then(|()| self.0.wait().map(|_| ())).expect("its end");
    }
    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that is stopped is killed as well.
        if self.0.kill().and_then(|()| self.0.wait().map(|_| ())).is_err() {
            eprintln!("process {} is left", self.0.id());
        }
    }
}

/// `berth-server` in a folder and on ports of its own.
pub struct Deployment {
    pub directory: tempfile::TempDir,
    pub url: String,
    pub token: String,
    variables: Vec<(String, String)>,
    pub server: Program,
}

pub fn server() -> Command {
    Command::new(env!("CARGO_BIN_EXE_berth-server"))
}

impl Deployment {
    /// On SQLite in its folder, or on `database`.
    pub async fn start(database: Option<String>) -> Self {
        Self::at(tempfile::tempdir().expect("a folder"), database).await
    }

    pub async fn at(directory: tempfile::TempDir, database: Option<String>) -> Self {
        let (port, agents) = (free_port(), free_port());
        let url = format!("http://127.0.0.1:{port}");
        std::fs::create_dir_all(directory.path().join("site/pkg")).expect("the site's folder");
        let at = |name: &str| directory.path().join(name).display().to_string();
        let mut variables = vec![
            ("BERTH_LISTEN".to_owned(), format!("127.0.0.1:{port}")),
            ("BERTH_PUBLIC_URL".to_owned(), url.clone()),
            ("BERTH_AGENTS__LISTEN".to_owned(), format!("127.0.0.1:{agents}")),
            ("BERTH_DATA_DIR".to_owned(), at("server")),
            ("BERTH_SITE_DIR".to_owned(), at("site")),
            ("BERTH_LOG__FILTER".to_owned(), "warn,server=error,services=error".to_owned()),
        ];
        variables.extend(database.map(|url| ("BERTH_DATABASE__URL".to_owned(), url)));
        let made = server()
            .args(["admin", "create", "--email", "ada@example.org", "--token-only"])
            .envs(variables.iter().cloned())
            .output()
            .expect("berth-server admin");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let token = String::from_utf8(made.stdout).expect("a token").trim().to_owned();
        let server = Program::start(server().arg("run").envs(variables.iter().cloned()));
        let this = Self { directory, url, token, variables, server };
        this.ready().await;
        this
    }

    /// Until it serves.
    pub async fn ready(&self) {
        let look = || async {
            let answer = crate::site::client().get(format!("{}/readyz", self.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        };
        until("the server is ready", look).await;
    }

    /// kill -9, and a new one on what it left.
    pub async fn kill_and_restart(&mut self) {
        self.server.kill();
        self.restart();
        self.ready().await;
    }

    pub fn restart(&mut self) {
        self.server = Program::start(server().arg("run").envs(self.variables.iter().cloned()));
    }

    /// What anybody with this token may ask for.
    pub fn request(&self, method: &str, path: &str, token: &str) -> reqwest::RequestBuilder {
        let method = method.parse::<reqwest::Method>().expect("a method");
        crate::site::client().request(method, format!("{}{path}", self.url)).bearer_auth(token)
    }

    pub async fn json(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        crate::site::json(&self.url, &self.token, method, path, body).await
    }
}

/// `berth-agent` with real sandboxes, joined as `lab` with the machines `lab/a` and `lab/b`. What outlives it goes with this.
pub struct Agent {
    pub program: Program,
    directory: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.program.kill();
        let cleared = agent_command(self.directory.path(), &["clear"]).output().expect("berth-agent clear");
        let said = String::from_utf8_lossy(&cleared.stderr);
        assert!(cleared.status.success() || std::thread::panicking(), "what the agent left stays: {said}");
    }
}

/// A command of the agent whose folder it is.
fn agent_command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(agent());
    command.args(arguments).env("BERTH_AGENT_CONFIG", directory.join("agent.toml")).env("BERTH_LOG", "error");
    command
}

/// Beside `berth-server`: a test of the whole workspace builds it.
fn agent() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_berth-server")).with_file_name("berth-agent");
    assert!(path.exists(), "{} is not there: run cargo build first", path.display());
    path
}

impl Agent {
    pub async fn start(url: &str, token: &str) -> Self {
        Self::offering(url, token, "").await
    }

    /// With more in its configuration.
    pub async fn offering(url: &str, token: &str, more: &str) -> Self {
        let machine = |name: &str| {
            format!("[[machines]]\nname = \"{name}\"\nkind = \"sandbox\"\ncpus = 1\nmemory = \"512MiB\"\n")
        };
        let agent = Self::joined(url, token, "lab", &format!("{more}\n{}\n{}", machine("a"), machine("b"))).await;
        let free = || async {
            let machines = crate::site::json(url, token, "GET", "/machines?state=free", None).await;
            (machines["items"].as_array().map(Vec::len) == Some(2)).then_some(())
        };
        until("both machines are free", free).await;
        agent
    }

    /// As a host of this name, with this in its configuration beside its state's place.
    pub async fn joined(url: &str, token: &str, name: &str, configuration: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("berth-server-it-").tempdir_in("/var/tmp").expect("a folder");
        let path = |name: &str| directory.path().join(name);
        let zero = crate::hosts::zero(url, token, 1).await;
        std::fs::write(path("zero.toml"), toml::to_string(&zero).expect("TOML")).expect("the zero certificate");
        let text = format!("state_dir = \"{}\"\n{configuration}\n", path("state").display());
        std::fs::write(path("agent.toml"), text).expect("the agent's configuration");
        let command = |arguments: &[&str]| agent_command(directory.path(), arguments);
        let zero = path("zero.toml").display().to_string();
        let joined = command(&["enroll", &zero, "--name", name]).output().expect("berth-agent enroll");
        assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        let program = Program::start(&mut command(&["run"]));
        Self { program, directory }
    }

    /// kill -9, and a new one on what it left.
    pub fn kill_and_restart(&mut self) {
        self.program.kill();
        self.program = Program::start(&mut agent_command(self.directory.path(), &["run"]));
    }
}

/// A session on `machine`, active; its id.
pub async fn session(url: &str, token: &str, machine: &str) -> String {
    let ask = serde_json::json!({"machine": machine, "duration_s": 3600});
    let booked = crate::site::json(url, token, "POST", "/reservations", Some(ask)).await;
    let id = booked["sessions"][0]["id"].as_str().expect("a session").to_owned();
    let active = || async {
        let session = crate::site::json(url, token, "GET", &format!("/sessions/{id}"), None).await;
        assert_ne!(session["state"], "failed", "{session}");
        (session["state"] == "active").then_some(())
    };
    until("the session is active", active).await;
    id
}

/// Ends every session of the caller's and waits until the machines are clean: environments outlive their agent.
pub async fn give_back(url: &str, token: &str) {
    let sessions = crate::site::json(url, token, "GET", "/sessions", None).await;
    for session in sessions["items"].as_array().into_iter().flatten() {
        let is_open = session["actions"].as_array().is_some_and(|actions| actions.iter().any(|action| action == "end"));
        if let Some(id) = session["id"].as_str().filter(|_| is_open) {
            crate::site::json(url, token, "POST", &format!("/sessions/{id}/end"), None).await;
        }
    }
    let over = || async {
        let sessions = crate::site::json(url, token, "GET", "/sessions", None).await;
        let is_over = |session: &Value| session["state"] == "ended" || session["state"] == "failed";
        sessions["items"].as_array().is_some_and(|all| all.iter().all(is_over)).then_some(())
    };
    until("all sessions are over", over).await;
}
