//! A request that comes to a host which does not have the object: two hosts that speak mutual TLS as agents do, and beside it
//! the same request where the object is.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use ::objects::{
    host::{
        Host, HostOptions, Program,
        child::COMMAND,
        deployment::{Deployment, IdleTimes},
        elsewhere::{Connection as PeerConnection, Dial, Directory, Elsewhere, Peer, Place},
        http,
        log::ObjectKey,
        outgoing::Policy,
    },
    project::{Project, Secret},
    wire::Limits,
};
use agent::objects::{peers::Peers, tls::Tls};
use anyhow::{Context, Result, ensure};
use domain::ids::HostId;
use futures_util::future::BoxFuture;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use tokio::{net::TcpListener, runtime::Runtime};

use super::{
    MODULE, WRANGLER,
    client::{Connection, rate, timed},
};
use crate::report::{Report, Row, Wanted, percentile};

/// One after the other.
const SINGLE: usize = 2_000;
/// Of the direct rate.
const TARGET: f64 = 0.7;
const TICKS_PER_S: f64 = 100.0;

/// The deployment whose objects the other host has.
const AWAY: &str = "away";
const NEAR: &str = "near";

struct Where {
    /// None: this very host has all objects.
    away: Option<Peer>,
}

impl Directory for Where {
    fn place(&self, deployment: &str, _object: &ObjectKey) -> Place {
        match self.away {
            Some(peer) if deployment == AWAY => Place::At(peer),
            Some(_) | None => Place::Here { least_epoch: 1 },
        }
    }

    fn misdirected<'a>(&'a self, _deployment: &'a str, _object: &'a ObjectKey, _by: Peer) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

struct Dialing(Arc<Peers>);

impl Dial for Dialing {
    fn dial(&self, peer: Peer) -> BoxFuture<'_, std::io::Result<Box<dyn PeerConnection>>> {
        Box::pin(async move {
            let host = HostId::from_uuid(uuid::Uuid::from_bytes(peer.0));
            let stream = self.0.dial(host).await.map_err(std::io::Error::other)?;
            Ok(Box::new(stream) as Box<dyn PeerConnection>)
        })
    }
}

/// A tenant's authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// What a host has from its enrolment.
    fn tls(&self, host: HostId) -> Result<Tls> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(format!("urn:berth:host:{host}").try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Tls::new(&self.pem, &certificate.pem(), &key.serialize_pem())?)
    }
}

/// A host with threads of its own, as an agent has.
struct Member {
    // Dropped first: its tasks lead to the others.
    runtime: Option<Runtime>,
    host: Arc<Host>,
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Within another one it may not wait.
            runtime.shutdown_background();
        }
    }
}

impl Member {
    fn start(directory: &Path, peers: Arc<Peers>, away: Option<Peer>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let entered = runtime.enter();
        let hour = Duration::from_secs(3600);
        let host = Host::open(HostOptions {
            idle: IdleTimes { hibernate: hour, evict: hour },
            elsewhere: Some(Elsewhere { directory: Arc::new(Where { away }), dial: Arc::new(Dialing(peers)) }),
            ..HostOptions::alone(directory.to_owned(), Program::this(COMMAND, 16 << 30)?)
        })?;
        drop(entered);
        Ok(Self { runtime: Some(runtime), host: Arc::new(host) })
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().context("it runs")
    }

    fn deploy(&self, folder: &Path, name: &str) -> Result<Arc<Deployment>> {
        let _entered = self.runtime()?.enter();
        let version = Project::read(folder)?.into_version(1, &Secret::of([7; 32]), Limits::default());
        Ok(self.host.deploy(name, version, Policy::default())?)
    }

    async fn serve(&self, deployment: &Arc<Deployment>) -> Result<SocketAddr> {
        let (listener, deployment) = (std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, Arc::clone(deployment));
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        self.runtime()?.spawn(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => http::serve(listener, 1000, move |_| Some(Arc::clone(&deployment))).await,
                Err(error) => eprintln!("cannot listen: {error}"),
            }
        });
        Ok(address)
    }

    /// The port for the other host.
    fn serve_peers(&self, listener: std::net::TcpListener, peers: Arc<Peers>) -> Result<()> {
        listener.set_nonblocking(true)?;
        let host = Arc::clone(&self.host);
        self.runtime()?.spawn(async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (tcp, _) = listener.accept().await?;
                let (_, stream) = peers.accept(tcp).await.map_err(std::io::Error::other)?;
                tokio::spawn(host.serve_peer(stream));
            }
            #[expect(unreachable_code, reason = "says what the task's errors are")]
            std::io::Result::Ok(())
        });
        Ok(())
    }
}

/// CPU time of this process and of engines, seconds.
fn cpu_s(deployments: &[Arc<Deployment>]) -> Result<f64> {
    let engines = deployments.iter().flat_map(|deployment| deployment.engines());
    let mut all = 0.0;
    for process in engines.chain([std::process::id()]) {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').context("no name in a process's stat")?;
        all += rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>();
    }
    Ok(all / TICKS_PER_S)
}

struct Figures {
    rate: f64,
    p50_ms: f64,
    cpu_us: f64,
}

async fn measure(address: SocketAddr, deployments: &[Arc<Deployment>], seconds: u64) -> Result<Figures> {
    let mut connection = Connection::open(address).await?;
    connection.ask("POST", "/one").await?;
    let mut samples = Vec::with_capacity(SINGLE);
    for _ in 0..SINGLE {
        samples.push(timed(&mut connection, "GET", "/one").await?);
    }
    let before = cpu_s(deployments)?;
    let (rate, all) = rate(address, "GET", "/one", seconds).await?;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let cpu_us = (cpu_s(deployments)? - before) * 1e6 / all as f64;
    Ok(Figures { rate, p50_ms: percentile(&mut samples, 0.5), cpu_us })
}

pub async fn run(report: &mut Report, place: &Path, seconds: u64) -> Result<()> {
    let (authority, here, there) = (Authority::new()?, HostId::new(), HostId::new());
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?.to_string();
    let peers = |host: HostId, other: HostId| {
        let peers = Peers::default();
        peers.show(authority.tls(host)?);
        peers.are([(other, address.clone())]);
        anyhow::Ok(Arc::new(peers))
    };
    fs::write(place.join("wrangler.toml"), WRANGLER)?;
    fs::write(place.join("index.js"), MODULE)?;
    let theirs = peers(there, here)?;
    let away = Some(Peer(there.uuid().into_bytes()));
    let first = Member::start(&place.join("first"), peers(here, there)?, away)?;
    let second = Member::start(&place.join("second"), Arc::clone(&theirs), None)?;
    second.serve_peers(listener, theirs)?;
    let (near, far) = (first.deploy(place, NEAR)?, first.deploy(place, AWAY)?);
    let objects = second.deploy(place, AWAY)?;
    let all = [near.clone(), far.clone(), objects.clone()];
    let direct = measure(first.serve(&near).await?, &all, seconds).await?;
    let forwarded = measure(first.serve(&far).await?, &all, seconds).await?;
    ensure!(far.objects().is_empty() && !objects.objects().is_empty(), "the object is not where it should be");
    let row = Row::new("reads of an object of another host, 16 connections (peer: of this one)", forwarded.rate, "/s");
    report.add(row.target(Wanted::AtLeast, TARGET * direct.rate).beside(direct.rate));
    let row = Row::new("one such read, p50 (peer: of this one)", forwarded.p50_ms, "ms");
    report.add(row.target(Wanted::AtMost, direct.p50_ms + 1.0).beside(direct.p50_ms));
    let name = "CPU of such a read, of hosts, engines and client (peer: of this one)";
    report.add(Row::new(name, forwarded.cpu_us, "µs").beside(direct.cpu_us));
    Ok(())
}
