//! A server, and an agent with real sandboxes, as anybody would start them: the programs themselves, over TLS, in a
//! folder and on ports of their own.

use std::{
    fs,
    io::Read,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use testkit::free_port;

use crate::wire::Wire;

/// How long anything that is waited for may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Deployment {
    dir: TempDir,
    url: String,
    port: u16,
    /// Between the agent and the server.
    agents_wire: Wire,
    token: String,
    server: Child,
    agent: Option<Child>,
    programs: PathBuf,
    variables: Vec<(&'static str, String)>,
}

/// Looks until it is so; says what was waited for if it never is.
pub fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Beside `berth`: a test of the whole workspace builds them, as `cargo build` does.
fn programs() -> PathBuf {
    let dir = Path::new(env!("CARGO_BIN_EXE_berth")).parent().expect("a folder").to_owned();
    for name in ["berth-server", "berth-agent"] {
        assert!(dir.join(name).exists(), "{} is not there: run cargo build first", dir.join(name).display());
    }
    dir
}

fn make_admin(programs: &Path, variables: &[(&str, String)], email: &str) -> String {
    let made = Command::new(programs.join("berth-server"))
        .args(["admin", "create", "--email", email, "--token-only"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("berth-server admin");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).expect("a token").trim().to_owned()
}

impl Deployment {
    /// With one host `lab` and its machines `lab/a` and `lab/b`.
    pub fn start() -> Self {
        let programs = programs();
        let dir = tempfile::tempdir().expect("a folder");
        let (port, agents) = (free_port(), free_port());
        let url = format!("http://127.0.0.1:{port}");
        fs::create_dir_all(dir.path().join("site/pkg")).expect("the site's folder");
        let variables = vec![
            ("BERTH_LISTEN", format!("127.0.0.1:{port}")),
            ("BERTH_PUBLIC_URL", url.clone()),
            ("BERTH_AGENTS__LISTEN", format!("127.0.0.1:{agents}")),
            ("BERTH_DATA_DIR", dir.path().join("server").display().to_string()),
            ("BERTH_SITE_DIR", dir.path().join("site").display().to_string()),
            ("BERTH_LOG__FILTER", "warn".to_owned()),
        ];
        let token = make_admin(&programs, &variables, "ada@example.org");
        let server = Command::new(programs.join("berth-server"))
            .arg("run")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .spawn()
            .expect("berth-server");
        let mut deployment =
            Self { dir, url, port, agents_wire: Wire::to(agents), token, server, agent: None, programs, variables };
        let address = format!("127.0.0.1:{port}");
        wait("the server answers", || TcpStream::connect(&address).ok());
        deployment.join();
        deployment
    }

    fn join(&mut self) {
        let zero = self.path("zero.toml");
        let made = self.berth(&["zero-certificates", "create", "--name", "test", "-o", &zero.display().to_string()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let text = fs::read_to_string(&zero).expect("the zero certificate");
        let address = text.lines().find(|line| line.starts_with("server = ")).expect("the server's address");
        let wire = format!("server = \"https://127.0.0.1:{}\"", self.agents_wire.port());
        fs::write(&zero, text.replace(address, &wire)).expect("the zero certificate");
        let config = self.path("agent.toml");
        let state = self.path("agent");
        let machine = |name: &str| {
            format!(
                "[[machines]]\nname = \"{name}\"\nkind = \"sandbox\"\ncpus = 1\nmemory = \"512MiB\"\nlabels = {{ ring = \"test\" }}\n"
            )
        };
        let notebooks = "[notebooks]\ncpus = 4\nmemory = \"8GiB\"\n";
        let text = format!("state_dir = \"{}\"\n\n{notebooks}{}\n{}", state.display(), machine("a"), machine("b"));
        fs::write(&config, text).expect("the agent's configuration");
        let zero = zero.display().to_string();
        let joined = self.agent_command(&["enroll", &zero, "--name", "lab"]).output().expect("berth-agent enroll");
        assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        self.agent = Some(self.agent_command(&["run"]).spawn().expect("berth-agent run"));
        wait("both machines are free", || (self.free() == 2).then_some(()));
    }

    fn agent_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("berth-agent"));
        command.args(arguments).env("BERTH_AGENT_CONFIG", self.path("agent.toml")).env("BERTH_LOG", "warn");
        command.stdin(Stdio::null());
        command
    }

    /// Starts the agent anew, with objects on its host.
    pub fn offer_objects(&mut self) {
        let config = self.path("agent.toml");
        let mut text = fs::read_to_string(&config).expect("the agent's configuration");
        let at = |port: u16| format!("\"127.0.0.1:{port}\"");
        let (listen, peers) = (at(free_port()), at(free_port()));
        text.push_str(&format!("\n[objects]\ncpus = 2\nmemory = \"2GiB\"\nlisten = {listen}\npeer_listen = {peers}\n"));
        fs::write(&config, text).expect("the agent's configuration");
        if let Some(agent) = &mut self.agent {
            agent.kill().and_then(|()| agent.wait()).expect("the agent's end");
        }
        self.agent = Some(self.agent_command(&["run"]).spawn().expect("berth-agent run"));
    }

    /// Another admin; their token.
    pub fn admin(&self, email: &str) -> String {
        make_admin(&self.programs, &self.variables, email)
    }

    /// A path in this deployment's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `berth`, signed in.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command
            .args(arguments)
            .env("BERTH_SERVER", &self.url)
            .env("BERTH_TOKEN", &self.token)
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .stdin(Stdio::null());
        command
    }

    pub fn berth(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("berth")
    }

    /// What a command that succeeds prints as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.berth(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Machines that are free now.
    pub fn free(&self) -> usize {
        let machines = self.json(&["machines", "--json"]);
        machines.as_array().map_or(0, |all| all.iter().filter(|machine| machine["state"] == "free").count())
    }

    /// A session on any machine, ready.
    pub fn session(&self) -> String {
        let booked = self.json(&["reserve", "--labels", "ring=test", "--wait", "--json"]);
        booked["sessions"][0]["id"].as_str().expect("a session").to_owned()
    }

    pub fn end(&self, session: &str) {
        let ended = self.berth(&["end", session, "--wait"]);
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }

    pub fn token(&self) -> &str {
        &self.token
    }
    pub fn url(&self) -> &str {
        &self.url
    }
    pub fn port(&self) -> u16 {
        self.port
    }
    pub fn agents_wire(&self) -> &Wire {
        &self.agents_wire
    }

    /// Kills the server at once and starts it again on what it left.
    pub fn restart_server(&mut self) {
        self.server.kill().and_then(|()| self.server.wait()).expect("the server's end");
        self.server = Command::new(self.programs.join("berth-server"))
            .arg("run")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .spawn()
            .expect("berth-server");
    }
}

impl Drop for Deployment {
    /// Environments outlive their agent: they are given back before it is stopped.
    fn drop(&mut self) {
        if let Ok(output) = self.command(&["sessions", "--json"]).output()
            && let Ok(Value::Array(sessions)) = serde_json::from_slice(&output.stdout)
        {
            for id in sessions.iter().filter_map(|session| session["id"].as_str()) {
                if let Err(error) = self.command(&["end", id, "--wait"]).output() {
                    eprintln!("session {id} is left: {error}");
                }
            }
        }
        for child in self.agent.iter_mut().chain([&mut self.server]) {
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!("process {} is left: {error}", child.id());
            }
        }
        // Its control group goes with it.
        let mut clear = Command::new(self.programs.join("berth-agent"));
        clear.arg("clear").env("BERTH_AGENT_CONFIG", self.path("agent.toml")).env("BERTH_LOG", "warn");
        if !clear.output().is_ok_and(|output| output.status.success()) {
            eprintln!("the agent has left something on this host");
        }
    }
}

/// All that a child wrote to a pipe.
pub fn all(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    pipe.expect("a pipe").read_to_string(&mut text).expect("text");
    text
}
