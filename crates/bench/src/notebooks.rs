//! `notebooks`: from a launch to a JupyterLab that is usable, one at a time and many at once, beside a bare JupyterLab and
//! JupyterHub; round trips to a kernel beside configurable-http-proxy; kernels over a restart of the server.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use testkit::{
    kernel::{self, Kernel},
    lab::{From, Lab, client},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::watch,
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use self::{
    peers::{Hub, Installed, TOKEN, authorised, bare},
    people::Person,
};
use crate::{
    host::{Host, milliseconds, until},
    report::{Report, Row, Wanted, percentile},
    rest::Rest,
    server::Server,
};

mod peers;
mod people;

/// More than the machine has: what starts is what is asked for.
const OFFER: &str = "[notebooks]\ncpus = 64\nmemory = \"256GiB\"\nplaces = 64\n";
const ROUNDS: usize = 12;
const FULL_ROUNDS: usize = 60;
const AT_ONCE: usize = 50;
const WITH_KERNELS: usize = 10;
const TRIPS: usize = 500;
/// How often the API is asked while many start.
const SAMPLE_EVERY: Duration = Duration::from_millis(25);
const SOCKET: &str = "run/user/1000/jupyter.sock";

pub async fn run(report: &mut Report, full: bool) -> Result<()> {
    let installed = tokio::task::spawn_blocking(Installed::ensure).await??;
    let client = client();
    let mut server = Server::start(None)?;
    let rest = Rest::new(&server)?;
    let _host = Host::start(&server, &rest, OFFER).await?;
    let ada = Person::invited(&rest, &client, &server.url, "ada@example.org").await?;
    let hub = Hub::start(&installed, &client).await?;
    hub.add("ada").await?;
    one_at_a_time(report, &client, &installed, &ada, &hub, if full { FULL_ROUNDS } else { ROUNDS }).await?;
    round_trips(report, &client, &ada, &hub).await?;
    drop(hub);
    let people = many_at_once(report, &client, &server, &rest).await?;
    restart(report, &mut server, &people).await?;
    remove(people).await?;
    hub_at_once(report, &client, &installed).await?;
    warm(report, &rest, &ada, if full { FULL_ROUNDS } else { ROUNDS }).await
}

/// The environment is there, and the machine does nothing else.
async fn one_at_a_time(
    report: &mut Report,
    client: &Client,
    installed: &Installed,
    ada: &Person,
    hub: &Hub,
    rounds: usize,
) -> Result<()> {
    let built = ada.launch("first").await?;
    report.add(Row::new("launch to usable, environment built first", built / 1_000.0, "s"));
    ada.remove("first").await?;
    bare(installed, client).await?;
    let (mut own, mut bares, mut hubs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let name = format!("round-{round}");
        own.push(ada.launch(&name).await?);
        ada.remove(&name).await?;
        bares.push(bare(installed, client).await?);
        hubs.push(hub.spawn("ada").await?);
        hub.end("ada").await?;
    }
    for (share, word) in [(0.5, "p50"), (0.95, "p95")] {
        let [own, bare, hub] = [&mut own, &mut bares, &mut hubs].map(|samples| percentile(samples, share));
        let row = Row::new(format!("launch to usable, {word} (beside a bare JupyterLab)"), own, "ms").beside(bare);
        report.add(if share > 0.9 { row.target(Wanted::AtMost, 1.2 * bare) } else { row });
        report.add(Row::new(format!("launch to usable, {word} (beside JupyterHub)"), own, "ms").beside(hub));
    }
    Ok(())
}

/// One waits each time, started and nobody's.
async fn warm(report: &mut Report, rest: &Rest, ada: &Person, rounds: usize) -> Result<()> {
    rest.put("/notebook-environments/base/pool", &json!({"count": 1, "size": "small"})).await?;
    let state = |warm: &Value| {
        let run = &warm["items"][0];
        ["ready", "failed"].contains(&run["state"].as_str()?).then(|| run.clone())
    };
    let mut samples = Vec::new();
    for round in 0..rounds {
        let run = until(rest, "/notebook-warm", state).await?;
        if run["state"] == "failed" {
            bail!("no notebook waits: {}", run["cause"]);
        }
        let name = format!("warm-{round}");
        samples.push(ada.launch(&name).await?);
        ada.remove(&name).await?;
    }
    rest.put("/notebook-environments/base/pool", &json!({"count": 0, "size": "small"})).await?;
    until(rest, "/notebook-warm", |warm| warm["items"].as_array()?.is_empty().then_some(())).await?;
    report.add(Row::new("launch to usable from the warm pool, p50", percentile(&mut samples, 0.5), "ms"));
    let p95 = percentile(&mut samples, 0.95);
    report.add(Row::new("launch to usable from the warm pool, p95", p95, "ms").target(Wanted::AtMost, 500.0));
    Ok(())
}

/// A kernel's socket by way of `stream`.
async fn kernel<S: AsyncRead + AsyncWrite + Unpin>(stream: S, path: &str, token: &str) -> Result<Kernel<S>> {
    let mut request = format!("ws://localhost{path}").into_client_request()?;
    request.headers_mut().insert("authorization", format!("token {token}").parse()?);
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    Ok(Kernel::new(socket, "bench"))
}

/// A notebook's kernel past server, tunnel and agent: at the socket inside its sandbox, which is found by a file that the
/// kernel itself makes there.
async fn direct(through: &mut Kernel<TcpStream>, id: &str) -> Result<Kernel<UnixStream>> {
    let mark = format!("tmp/bench-{id}");
    let token = through
        .run(&format!("open('/{mark}', 'w').close(); print(open('/run/user/1000/jupyter-token').read())"))
        .await?;
    let roots = fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.path().join("root")));
    let root: PathBuf = roots
        .filter(|root| root.join(&mark).exists())
        .find(|root| root.join(SOCKET).exists())
        .context("the notebook's sandbox is not found")?;
    let stream = UnixStream::connect(root.join(SOCKET)).await?;
    kernel(stream, &kernel::path(id, "bench"), &token).await
}

async fn tcp(address: &str) -> Result<(TcpStream, String)> {
    let rest = address.strip_prefix("http://").context("an address")?;
    let (host, path) = rest.split_once('/').context("a path")?;
    Ok((TcpStream::connect(host).await?, format!("/{path}")))
}

async fn trip<S: AsyncRead + AsyncWrite + Unpin>(kernel: &mut Kernel<S>) -> Result<f64> {
    let began = Instant::now();
    kernel.info().await?;
    Ok(milliseconds(began))
}

/// The same kernel through the proxy and past it, in turn.
async fn round_trips(report: &mut Report, client: &Client, ada: &Person, hub: &Hub) -> Result<()> {
    ada.launch("trips").await?;
    let lab = ada.lab("trips").await;
    let id = lab.new_kernel().await;
    let Ok(mut through) = lab.socket(From::Own, &id, "through").await else { bail!("no socket") };
    let mut past = direct(&mut through, &id).await?;

    hub.spawn("ada").await?;
    let made = authorised(client, Method::POST, &hub.address("ada", "/api/kernels")).send().await?;
    let made: Value = made.error_for_status()?.json().await?;
    let hub_id = made["id"].as_str().context("no kernel")?;
    let (stream, path) = tcp(&hub.address("ada", &kernel::path(hub_id, "through"))).await?;
    let mut hub_through = kernel(stream, &path, TOKEN).await?;
    let own = format!("{}{}", hub.own_address("ada").await?, kernel::path(hub_id, "past"));
    let (stream, path) = tcp(&own).await?;
    let mut hub_past = kernel(stream, &path, TOKEN).await?;

    let [mut a, mut b, mut c, mut d] = [const { Vec::new() }; 4];
    for _ in 0..TRIPS {
        a.push(trip(&mut through).await?);
        b.push(trip(&mut past).await?);
        c.push(trip(&mut hub_through).await?);
        d.push(trip(&mut hub_past).await?);
    }
    let [a, b, c, d] = [a, b, c, d].map(|mut samples| percentile(&mut samples, 0.5));
    report.add(Row::new("round trip to a kernel, p50 (beside JupyterHub)", a, "ms").beside(c));
    let overhead = Row::new("of it the proxy's, p50 (beside configurable-http-proxy)", a - b, "ms");
    report.add(overhead.target(Wanted::AtMost, 2.0).beside(c - d));
    drop((through, past, hub_through, hub_past));
    hub.end("ada").await?;
    ada.remove("trips").await
}

/// Asks for two lists by turns until it is over; how long each answer took, in ms.
async fn sampled(
    asks: impl Fn() -> [RequestBuilder; 2] + Send + 'static,
    over: watch::Receiver<()>,
) -> Result<Vec<f64>> {
    let mut samples = Vec::new();
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    while over.has_changed().is_ok() {
        ticks.tick().await;
        for ask in asks() {
            let began = Instant::now();
            ask.send().await?.error_for_status()?.bytes().await?;
            samples.push(milliseconds(began));
        }
    }
    Ok(samples)
}

/// Who has a notebook of which name.
type Launched = (Person, String);

async fn many_at_once(report: &mut Report, client: &Client, server: &Server, rest: &Rest) -> Result<Vec<Launched>> {
    let mut people = Vec::new();
    for number in 0..AT_ONCE {
        people.push(Person::invited(rest, client, &server.url, &format!("p{number}@example.org")).await?);
    }
    let (running, over) = watch::channel(());
    let (asker, base, token) = (client.clone(), format!("{}/api/v1", server.url), server.token.clone());
    let ask = move |path: &str| asker.get(format!("{base}{path}")).bearer_auth(&token);
    let sampling = tokio::spawn(sampled(move || ["/me", "/notebooks?whose=all"].map(&ask), over));
    let began = Instant::now();
    let names: Vec<String> = (0..AT_ONCE).map(|number| format!("at-once-{number}")).collect();
    let launched = join_all(people.iter().zip(&names).map(|(person, name)| person.launch(name))).await;
    let took = milliseconds(began);
    drop(running);
    let mut samples = sampling.await??;
    let (mut launched_by, mut failed) = (Vec::new(), 0_u32);
    for ((person, name), result) in people.into_iter().zip(names).zip(launched) {
        match result {
            Ok(_) => launched_by.push((person, name)),
            Err(error) => {
                eprintln!("{error:#}");
                failed += 1;
            }
        }
    }
    report.add(Row::new(format!("{AT_ONCE} starts at once: all usable after"), took / 1_000.0, "s"));
    report
        .add(Row::new(format!("{AT_ONCE} starts at once: failed"), f64::from(failed), "").target(Wanted::AtMost, 0.0));
    let name = format!("{AT_ONCE} starts at once: API meanwhile");
    report.add(Row::new(format!("{name}, p50"), percentile(&mut samples, 0.5), "ms"));
    report.add(Row::new(format!("{name}, p95"), percentile(&mut samples, 0.95), "ms").target(Wanted::AtMost, 200.0));
    Ok(launched_by)
}

async fn remove(people: Vec<Launched>) -> Result<()> {
    for (person, name) in people {
        person.remove(&name).await?;
    }
    Ok(())
}

/// kill -9 of the server: whose kernel does not know afterwards what it knew before is lost.
async fn restart(report: &mut Report, server: &mut Server, people: &[Launched]) -> Result<()> {
    let mut kernels: Vec<(Lab, String)> = Vec::new();
    for (person, name) in people.iter().take(WITH_KERNELS) {
        let lab = person.lab(name).await;
        let id = lab.new_kernel().await;
        let Ok(mut kernel) = lab.socket(From::Own, &id, "before").await else { bail!("no socket") };
        kernel.run(&format!("known = '{name}'")).await?;
        kernels.push((lab, id));
    }
    server.restart()?;
    let began = Instant::now();
    let mut lost = 0_u32;
    for (lab, id) in &kernels {
        let mut answer = again(lab, id).await;
        // The host comes back by itself.
        while answer.is_err() && began.elapsed() < Duration::from_secs(60) {
            answer = again(lab, id).await;
        }
        let is_known = answer.is_ok_and(|known| known == lab.name);
        lost += u32::from(!is_known);
    }
    let name = format!("kernels lost by a kill -9 of the server, of {}", kernels.len());
    report.add(Row::new(name, f64::from(lost), "").target(Wanted::AtMost, 0.0));
    report.add(Row::new("the last of them answers after the restart", began.elapsed().as_secs_f64(), "s"));
    Ok(())
}

async fn again(lab: &Lab, id: &str) -> Result<String> {
    match lab.socket(From::Own, id, "after").await {
        Ok(mut kernel) => Ok(kernel.run("print(known)").await?),
        Err(status) => bail!("{status}"),
    }
}

/// The same of JupyterHub, on a machine from which Berth's notebooks are gone.
async fn hub_at_once(report: &mut Report, client: &Client, installed: &Installed) -> Result<()> {
    let hub = Hub::start(installed, client).await?;
    let people: Vec<String> = (0..AT_ONCE).map(|number| format!("p{number}")).collect();
    for person in &people {
        hub.add(person).await?;
    }
    let (running, over) = watch::channel(());
    let asks = [hub.api(Method::GET, "/users/p0"), hub.api(Method::GET, "/users")];
    let sampling =
        tokio::spawn(sampled(move || asks.each_ref().map(|ask| ask.try_clone().expect("has no body")), over));
    let began = Instant::now();
    let spawned = join_all(people.iter().map(|person| hub.spawn(person))).await;
    let took = milliseconds(began);
    drop(running);
    let mut samples = sampling.await??;
    for error in spawned.iter().filter_map(|result| result.as_ref().err()) {
        eprintln!("{error:#}");
    }
    let failed = spawned.iter().filter(|result| result.is_err()).count();
    let name = format!("JupyterHub, {AT_ONCE} at once");
    report.add(Row::new(format!("{name}: all usable after"), took / 1_000.0, "s"));
    report.add(Row::new(format!("{name}: failed"), f64::from(u32::try_from(failed)?), ""));
    report.add(Row::new(format!("{name}: API meanwhile, p50"), percentile(&mut samples, 0.5), "ms"));
    report.add(Row::new(format!("{name}: API meanwhile, p95"), percentile(&mut samples, 0.95), "ms"));
    Ok(())
}
