//! `cargo xtask dev`: server, agents and page on this machine.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::paths::{self, Mode};
use crate::processes::{self, Programs};
use crate::{cargo, setup, web};

const USAGE: &str = "\
Usage: cargo xtask dev [--data DIR] [--port N] [--agents N] [--demo] [--release] [--ready-file FILE]

  --data DIR         where the database, keys and logs are kept (target/dev); a next start finds them again
  --port N           the portal's port (8080); 0 takes a free one
  --agents N         how many hosts to run on this machine (2)
  --demo             adds 200 simulated machines, 30 people and 8 weeks of bookings
  --release          build as for production
  --ready-file FILE  written once everything runs: {\"address\", \"sign_in\", \"data\", \"bin\", \"objects\"} as JSON";

/// Who a developer signs in as.
const EMAIL: &str = "admin@berth.localhost";
const READY: Duration = Duration::from_secs(60);
const MAX_AGENTS: u16 = 64;

/// `--demo`: 200 machines.
const DEMO_HOSTS: u32 = 20;
const DEMO_MACHINES_PER_HOST: u32 = 10;

struct Options {
    data: Option<PathBuf>,
    port: u16,
    agents: u16,
    mode: Mode,
    ready_file: Option<PathBuf>,
    demo: bool,
}

pub fn command(args: &[String]) -> Result<ExitCode> {
    let Some(options) = parse(args)? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    run(&options)?;
    Ok(ExitCode::SUCCESS)
}

fn parse(args: &[String]) -> Result<Option<Options>> {
    let mut options =
        Options { data: None, port: 8080, agents: 2, mode: Mode::Development, ready_file: None, demo: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} wants a value\n\n{USAGE}"));
        match arg.as_str() {
            "--data" => options.data = Some(PathBuf::from(value()?)),
            "--port" => options.port = value()?.parse().context("--port wants a number from 0 to 65535")?,
            "--agents" => options.agents = value()?.parse().context("--agents wants a number")?,
            "--demo" => options.demo = true,
            "--release" => options.mode = Mode::Release,
            "--ready-file" => options.ready_file = Some(PathBuf::from(value()?)),
            "--help" | "-h" => return Ok(None),
            other => bail!("dev does not know {other}\n\n{USAGE}"),
        }
    }
    ensure!(options.agents <= MAX_AGENTS, "--agents: at most {MAX_AGENTS}");
    Ok(Some(options))
}

/// The folder of everything that one `dev` keeps.
struct Data {
    dir: PathBuf,
    /// Held as long as this runs: two servers on one database would be surprising.
    _lock: File,
}

/// What a next start must find again: agents know the address that they enrolled at.
#[derive(Serialize, Deserialize)]
struct Ports {
    agents: u16,
}

/// Where an agent's objects are reached: a next start takes the same, if they are free.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct ObjectPorts {
    requests: u16,
    peers: u16,
}

/// What the ready file says.
#[derive(Serialize)]
struct Ready<'a> {
    address: &'a str,
    sign_in: &'a str,
    data: &'a Path,
    bin: &'a Path,
    /// The object port of each agent.
    objects: Vec<String>,
}

fn run(options: &Options) -> Result<()> {
    setup::ensure(&[setup::BUBBLEWRAP])?;
    let tools = setup::notebooks()?;
    let site = build(options.mode)?;
    let bin = paths::target()?.join(options.mode.server_folder());

    let data = open_data(options)?;
    let port = portal_port(options.port)?;
    let address = format!("http://localhost:{port}");
    let config = write_server_config(&data, &site, port, &address)?;

    let signals = processes::hold_signals()?;
    let mut programs = Programs::new(tools);
    let ready = data.dir.join("server.ready");
    remove_if_there(&ready)?;
    let server = bin.join("berth-server");
    programs.start(
        "berth-server",
        &server,
        &[OsStr::new("--config"), config.as_os_str(), OsStr::new("run"), OsStr::new("--ready-file"), ready.as_os_str()],
        data.dir.join("server.log"),
    )?;
    programs.wait("berth-server's start", READY, || ready.exists())?;

    let admin = Admin { server: &server, config: &config };
    admin.ensure_person(&data)?;
    let mut objects = Vec::new();
    for number in 1..=options.agents {
        objects.push(start_agent(&mut programs, &admin, &bin, &data, number)?.requests);
    }
    if options.demo {
        start_demo(&mut programs, &admin, &bin, &data)?;
    }
    let sign_in = admin.sign_in_link()?;
    if let Some(file) = &options.ready_file {
        let objects = objects.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let ready = Ready { address: &address, sign_in: &sign_in, data: &data.dir, bin: &bin, objects };
        // In one step: whoever waits for the file reads it whole.
        let partial = file.with_extension("part");
        fs::write(&partial, serde_json::to_string(&ready)?)?;
        fs::rename(&partial, file)?;
    }
    println!("Berth runs at {address}");
    println!("Sign in once with {sign_in}");
    for (port, number) in objects.iter().zip(1..) {
        println!("Deployments answer at http://NAME.localhost:{port} on local-{number}, as in the portal");
    }
    println!("Data and logs: {}. Ctrl+C stops everything.", data.dir.display());
    let ended = programs.run_until_signal(&signals);
    println!("Stopping");
    programs.stop();
    for number in 1..=options.agents {
        clear_agent(&bin, &data, number);
    }
    ended
}

/// Builds both halves and gives the folder of the page.
pub fn build(mode: Mode) -> Result<PathBuf> {
    let mut build = cargo::cargo("cargo")?;
    // Of the whole workspace: with the features that the tests are built with, so that neither builds what the other has built.
    build.args(["build", "--locked", "--workspace"]);
    build.args(["berth-server", "berth-agent", "berth"].iter().flat_map(|program| ["--bin", program]));
    cargo::run(build.args(mode.server_flags()))?;
    web::build(mode)
}

fn open_data(options: &Options) -> Result<Data> {
    let dir = match &options.data {
        Some(dir) => std::env::current_dir()?.join(dir),
        None => paths::target()?.join("dev"),
    };
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let lock = File::create(dir.join("dev.lock"))?;
    if lock.try_lock().is_err() {
        bail!("another `cargo xtask dev` uses {}; give this one its own --data", dir.display());
    }
    Ok(Data { dir, _lock: lock })
}

fn portal_port(wanted: u16) -> Result<u16> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted));
    let free = free.with_context(|| format!("port {wanted} is taken; choose another with --port"))?;
    Ok(free.local_addr()?.port())
}

/// A free port for the agents that is not the portal's, which nobody listens on yet.
fn other_port(portal: u16) -> Result<u16> {
    let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, portal)).context("the portal's port was taken just now")?;
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn write_server_config(data: &Data, site: &Path, port: u16, address: &str) -> Result<PathBuf> {
    let ports_file = data.dir.join("ports.json");
    let ports = match fs::read_to_string(&ports_file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is damaged", ports_file.display()))?,
        Err(_) => Ports { agents: other_port(port)? },
    };
    fs::write(&ports_file, serde_json::to_string(&ports)?)?;
    let config = data.dir.join("server.toml");
    let agents = ports.agents;
    let (state, site) = (quoted(&data.dir.join("server"))?, quoted(site)?);
    let text = format!(
        "# Written by `cargo xtask dev` at each start.\n\
         listen = \"127.0.0.1:{port}\"\npublic_url = \"{address}\"\ndata_dir = {state}\nsite_dir = {site}\n\n\
         [agents]\nlisten = \"127.0.0.1:{agents}\"\nnames = [\"localhost\", \"127.0.0.1\"]\n"
    );
    fs::create_dir_all(data.dir.join("server"))?;
    fs::write(&config, text)?;
    Ok(config)
}

/// A path as a TOML string.
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?;
    // JSON's strings without control characters are TOML's.
    Ok(serde_json::to_string(text)?)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// `berth-server admin` on the configuration of this run.
struct Admin<'a> {
    server: &'a Path,
    config: &'a Path,
}

impl Admin<'_> {
    fn command(&self) -> Command {
        let mut command = cargo::clean(self.server);
        command.arg("--config").arg(self.config).arg("admin");
        command
    }

    /// Makes the developer's account at the first start.
    fn ensure_person(&self, data: &Data) -> Result<()> {
        let made = data.dir.join("admin.made");
        if made.exists() {
            return Ok(());
        }
        processes::ask(self.command().args(["create", "--email", EMAIL, "--name", "Dev Admin"]))?;
        fs::write(&made, EMAIL)?;
        Ok(())
    }

    fn sign_in_link(&self) -> Result<String> {
        processes::ask(self.command().args(["link", "--email", EMAIL]))
    }

    fn zero_certificate(&self, uses: u32, file: &Path) -> Result<()> {
        remove_if_there(file)?;
        let uses = uses.to_string();
        processes::ask(self.command().args(["zero-certificate", "--uses", &uses, "--hours", "1", "--out"]).arg(file))?;
        Ok(())
    }
}

/// Sessions outlive an agent, as they should on a host; on a developer's machine nothing is to be left.
fn clear_agent(bin: &Path, data: &Data, number: u16) {
    let config = data.dir.join(format!("local-{number}")).join("agent.toml");
    let mut clear = cargo::clean(bin.join("berth-agent"));
    if let Err(error) = processes::ask(clear.arg("clear").arg("--config").arg(config)) {
        eprintln!("sessions of local-{number} may be left: {error:#}");
    }
}

/// Starts the host `local-N`; enrols it first, if it is new, as an admin would.
fn start_agent(
    programs: &mut Programs,
    admin: &Admin<'_>,
    bin: &Path,
    data: &Data,
    number: u16,
) -> Result<ObjectPorts> {
    let name = format!("local-{number}");
    let dir = data.dir.join(&name);
    fs::create_dir_all(&dir)?;
    let config = dir.join("agent.toml");
    let ports = object_ports(&dir)?;
    fs::write(&config, agent_config(&dir.join("state"), ports)?)?;
    let agent = bin.join("berth-agent");
    let enrolled = dir.join("enrolled");
    if !enrolled.exists() {
        let zero = dir.join("zero.toml");
        admin.zero_certificate(1, &zero)?;
        // A new tenant's authority reaches the agents' port within seconds; asking again costs no second use.
        let mut last = Ok(String::new());
        programs.wait(&format!("enrolling {name}"), READY, || {
            let mut enroll = cargo::clean(&agent);
            last = processes::ask(enroll.arg("enroll").arg(&zero).arg("--config").arg(&config).args(["--name", &name]));
            last.is_ok()
        })?;
        last?;
        remove_if_there(&zero)?;
        fs::write(&enrolled, &name)?;
    }
    programs.start(
        &name,
        &agent,
        &[OsStr::new("run"), OsStr::new("--config"), config.as_os_str()],
        data.dir.join(format!("{name}.log")),
    )?;
    Ok(ports)
}

/// Those of before, or two others that are free.
fn object_ports(dir: &Path) -> Result<ObjectPorts> {
    let listen = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let file = dir.join("ports.json");
    let before = fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str::<ObjectPorts>(&text).ok());
    if let Some(ports) = before.filter(|ports| listen(ports.requests).is_ok() && listen(ports.peers).is_ok()) {
        return Ok(ports);
    }
    // Both held, so that they differ.
    let (requests, peers) = (listen(0)?, listen(0)?);
    let ports = ObjectPorts { requests: requests.local_addr()?.port(), peers: peers.local_addr()?.port() };
    fs::write(&file, serde_json::to_string(&ports)?)?;
    Ok(ports)
}

/// Simulated hosts that speak the real protocol, and a busy team's people and bookings on their machines.
fn start_demo(programs: &mut Programs, admin: &Admin<'_>, bin: &Path, data: &Data) -> Result<()> {
    let dir = data.dir.join("demo");
    fs::create_dir_all(&dir)?;
    let zero = dir.join("zero.toml");
    admin.zero_certificate(DEMO_HOSTS, &zero)?;
    let (hosts, machines) = (DEMO_HOSTS.to_string(), DEMO_MACHINES_PER_HOST.to_string());
    let state = dir.join("state");
    programs.start(
        "simulated hosts",
        &bin.join("berth-agent"),
        &[
            OsStr::new("simulate"),
            OsStr::new("--hosts"),
            OsStr::new(&hosts),
            OsStr::new("--machines"),
            OsStr::new(&machines),
            OsStr::new("--zero"),
            zero.as_os_str(),
            OsStr::new("--state"),
            state.as_os_str(),
        ],
        data.dir.join("demo.log"),
    )?;
    let wanted = (DEMO_HOSTS * DEMO_MACHINES_PER_HOST).to_string();
    processes::ask(admin.command().args(["demo", "--machines", &wanted]))?;
    Ok(())
}

/// Two sandboxes on each host and room for notebooks and objects, small enough that several hosts fit a laptop.
fn agent_config(state: &Path, ports: ObjectPorts) -> Result<String> {
    let ObjectPorts { requests, peers } = ports;
    let state = quoted(state)?;
    let machines = (1..=2).map(|slot| {
        format!(
            "\n[[machines]]\nname = \"slot-{slot}\"\nkind = \"sandbox\"\ncpus = 1.0\nmemory = \"1GiB\"\n\
             labels = {{ kind = \"sandbox\", size = \"small\" }}\n"
        )
    });
    Ok(format!(
        "# Written by `cargo xtask dev` at each start.\nstate_dir = {state}\nlabels = {{ place = \"local\" }}\n\n\
         [notebooks]\ncpus = 4.0\nmemory = \"8GiB\"\n\n\
         [objects]\ncpus = 2.0\nmemory = \"2GiB\"\nlisten = \"127.0.0.1:{requests}\"\npeer_listen = \"127.0.0.1:{peers}\"\n{}",
        machines.collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_are_read() {
        let options = parse(&words("--data d --port 0 --agents 3 --release --ready-file f")).unwrap().unwrap();
        assert_eq!((options.port, options.agents, options.mode), (0, 3, Mode::Release));
        assert_eq!(options.data, Some(PathBuf::from("d")));
        assert!(parse(&words("--help")).unwrap().is_none());
    }

    #[test]
    fn wrong_options_are_refused() {
        for wrong in ["--port", "--port x", "--agents 65", "--frobnicate"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_becomes_a_string_of_toml() {
        assert_eq!(quoted(Path::new("/a \"b\"")).unwrap(), r#""/a \"b\"""#);
    }
}
