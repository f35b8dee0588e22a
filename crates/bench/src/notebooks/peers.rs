//! What notebooks stand beside: a bare JupyterLab, and JupyterHub with its own proxy, of PyPI and npm, installed once into a
//! folder of the user's cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

/// JupyterLab and packages as in the environment `base`.
const PACKAGES: [&str; 7] =
    ["jupyterhub==6.1.*", "jupyterlab==4.6.*", "ipykernel", "numpy", "pandas", "matplotlib", "pyarrow"];
const PROXY: &str = "configurable-http-proxy@5.3.0";
/// Asks nobody on the Internet, as Berth's does not.
const QUIET: [&str; 4] = [
    "--allow-root",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.news_url=None",
    "--LabApp.extension_manager=readonly",
];
const START_LIMIT: Duration = Duration::from_secs(600);
const HUB_LIMIT: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(10);
/// Longer than one start takes on its own: who waits longer is one of many, and asks as seldom as a page would.
const ALONE: Duration = Duration::from_secs(6);
const ASK_AMONG_MANY_EVERY: Duration = Duration::from_millis(250);

/// Between two looks of who has waited since `began`.
pub async fn pause(began: Instant) {
    tokio::time::sleep(if began.elapsed() < ALONE { ASK_EVERY } else { ASK_AMONG_MANY_EVERY }).await;
}
pub const TOKEN: &str = "token-of-the-benchmark";

/// Where their programs are.
pub struct Installed {
    directory: PathBuf,
}

impl Installed {
    /// Installs what is not there yet.
    pub fn ensure() -> Result<Self> {
        let cache = std::env::var_os("BENCH_CACHE").context("start this as `cargo xtask bench notebooks`")?;
        let this = Self { directory: PathBuf::from(cache).join("jupyterhub-6.1") };
        let ready = this.directory.join("ready");
        if !ready.exists() {
            this.install()?;
            fs::write(ready, "")?;
        }
        Ok(this)
    }

    fn install(&self) -> Result<()> {
        eprintln!("installing JupyterHub and its proxy into {}", self.directory.display());
        fs::create_dir_all(&self.directory)?;
        let venv = self.directory.join("venv");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let mut pip = Command::new(self.program("python"));
        run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&self.directory);
        run(npm.arg(PROXY))
    }

    fn program(&self, name: &str) -> PathBuf {
        self.directory.join("venv/bin").join(name)
    }

    fn command(&self, name: &str, home: &Path) -> Result<Command> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.directory.join("venv/bin")).chain(std::env::split_paths(&path));
        let mut command = Command::new(self.program(name));
        let log = fs::File::create(home.join("log"))?;
        command.env("PATH", std::env::join_paths(folders)?).env("HOME", home).current_dir(home);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Ended when dropped, as its own programs expect it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let mut end = Command::new("kill");
        let ended = end.arg(self.0.id().to_string()).status().and_then(|_| self.0.wait());
        if let Err(error) = ended {
            eprintln!("process {} is left: {error}", self.0.id());
        }
    }
}

/// Waits until JupyterLab's page and its state are answered at `base`, asked again and again.
pub async fn usable(ask: impl Fn(&str) -> RequestBuilder) -> Result<()> {
    let began = Instant::now();
    for path in ["/lab", "/api/status"] {
        loop {
            match ask(path).send().await {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    answer.bytes().await?;
                    break;
                }
                Ok(_) | Err(_) if began.elapsed() < START_LIMIT => pause(began).await,
                Ok(answer) => bail!("{path} answers {}", answer.status()),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

pub fn authorised(client: &Client, method: Method, address: &str) -> RequestBuilder {
    client.request(method, address).header("authorization", format!("token {TOKEN}"))
}

/// From the start of the program to its page; then it is ended. ms.
pub async fn bare(installed: &Installed, client: &Client) -> Result<f64> {
    let home = tempfile::tempdir()?;
    let port = testkit::free_port();
    let began = Instant::now();
    let mut lab = installed.command("jupyter-lab", home.path())?;
    lab.args(QUIET).args(["--no-browser", "--ServerApp.ip=127.0.0.1", &format!("--ServerApp.port={port}")]);
    let _running = Running(lab.env("JUPYTER_TOKEN", TOKEN).spawn()?);
    usable(|path| authorised(client, Method::GET, &format!("http://127.0.0.1:{port}{path}"))).await?;
    Ok(crate::host::milliseconds(began))
}

/// JupyterHub with people who have a JupyterLab each, as processes on this machine.
pub struct Hub {
    client: Client,
    port: u16,
    proxy_port: u16,
    _running: Running,
    _directory: TempDir,
}

impl Hub {
    pub async fn start(installed: &Installed, client: &Client) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let [port, hub_port, proxy_port] = [(); 3].map(|()| testkit::free_port());
        let at = directory.path().display();
        let proxy = installed.directory.join("node_modules/.bin/configurable-http-proxy");
        let options = serde_json::to_string(&QUIET)?;
        let text = format!(
            "c.JupyterHub.bind_url = 'http://127.0.0.1:{port}'\n\
             c.JupyterHub.hub_bind_url = 'http://127.0.0.1:{hub_port}'\n\
             c.ConfigurableHTTPProxy.api_url = 'http://127.0.0.1:{proxy_port}'\n\
             c.ConfigurableHTTPProxy.auth_token = '{TOKEN}'\n\
             c.ConfigurableHTTPProxy.command = ['{}']\n\
             c.JupyterHub.authenticator_class = 'dummy'\nc.Authenticator.allow_all = True\n\
             c.JupyterHub.spawner_class = 'simple'\n\
             c.SimpleLocalProcessSpawner.home_dir_template = '{at}/homes/{{username}}'\n\
             c.JupyterHub.db_url = 'sqlite:///{at}/hub.sqlite'\nc.JupyterHub.cookie_secret_file = '{at}/secret'\n\
             c.Spawner.args = {options}\nc.Spawner.default_url = '/lab'\n\
             c.Spawner.start_timeout = 600\nc.Spawner.http_timeout = 600\nc.JupyterHub.concurrent_spawn_limit = 0\n\
             c.JupyterHub.services = [{{'name': 'bench', 'api_token': '{TOKEN}'}}]\n\
             c.JupyterHub.load_roles = [{{'name': 'bench', 'services': ['bench'], 'scopes': \
             ['admin:users', 'admin:servers', 'access:servers', 'list:users', 'read:users']}}]\n",
            proxy.display()
        );
        fs::write(directory.path().join("jupyterhub_config.py"), text)?;
        let mut hub = installed.command("jupyterhub", directory.path())?;
        let running = Running(hub.spawn()?);
        let this = Self { client: client.clone(), port, proxy_port, _running: running, _directory: directory };
        let began = Instant::now();
        while !this.api(Method::GET, "/").send().await.is_ok_and(|answer| answer.status() == StatusCode::OK) {
            if began.elapsed() > HUB_LIMIT {
                bail!("JupyterHub does not start");
            }
            pause(began).await;
        }
        Ok(this)
    }

    pub fn api(&self, method: Method, path: &str) -> RequestBuilder {
        authorised(&self.client, method, &format!("http://127.0.0.1:{}/hub/api{path}", self.port))
    }

    pub async fn add(&self, person: &str) -> Result<()> {
        self.api(Method::POST, &format!("/users/{person}")).send().await?.error_for_status()?;
        Ok(())
    }

    pub fn address(&self, person: &str, path: &str) -> String {
        format!("http://127.0.0.1:{}/user/{person}{path}", self.port)
    }

    /// From asking for somebody's server to its page. ms.
    pub async fn spawn(&self, person: &str) -> Result<f64> {
        let began = Instant::now();
        self.api(Method::POST, &format!("/users/{person}/server")).send().await?.error_for_status()?;
        usable(|path| authorised(&self.client, Method::GET, &self.address(person, path))).await?;
        Ok(crate::host::milliseconds(began))
    }

    pub async fn end(&self, person: &str) -> Result<()> {
        self.api(Method::DELETE, &format!("/users/{person}/server")).send().await?.error_for_status()?;
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            let user: Value = self.api(Method::GET, &format!("/users/{person}")).send().await?.json().await?;
            if user["servers"].as_object().is_none_or(serde_json::Map::is_empty) {
                return Ok(());
            }
            pause(began).await;
        }
        bail!("JupyterHub does not end a server")
    }

    /// Where a person's server listens itself, past the proxy.
    pub async fn own_address(&self, person: &str) -> Result<String> {
        let routes = format!("http://127.0.0.1:{}/api/routes", self.proxy_port);
        let routes: Value = authorised(&self.client, Method::GET, &routes).send().await?.json().await?;
        let target = routes[format!("/user/{person}")]["target"].as_str().context("no route")?;
        Ok(format!("{target}/user/{person}"))
    }
}
