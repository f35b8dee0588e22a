//! Agents that run objects, and the server's side of them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
    time::Instant,
};

use agent::identity::Identity;
use bytes::Bytes;
use domain::{
    deployments::{Binding, CodeLimits, GROUPS, ModuleKind, ObjectOffer},
    ids::{DeploymentId, HostId, NamespaceId, TenantId},
};
use protocol::{
    CloseReason, ToAgent, ToServer,
    bundle::{Bundle, Module},
    objects::{Holder, Peer as PlannedPeer, Plan, Planned, PlannedClass},
    tunnel::{Door, Open},
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

use crate::peer::{Host, Link, Network, Peer, within};

/// Each object counts, says which life of it that is, echoes bodies, and holds sockets.
pub const COUNTER: &str = include_str!("../../../../testkit/objects/counter.js");

/// A port that is given out once, below those that the kernel gives to connections, so that an agent can be killed and
/// started on it again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes side by side begin at different places.
    let begin = std::process::id().wrapping_mul(97) % u32::from(PORTS);
    let mut tries = (0..PORTS).map(|_| {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        FIRST_PORT + u16::try_from((begin + next) % u32::from(PORTS)).expect("small")
    });
    tries.find(|port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).expect("a free port")
}

const FIRST_PORT: u16 = 11_000;
const PORTS: u16 = 8_000;

/// A host of the fleet.
pub struct Member {
    pub host: Host,
    pub id: HostId,
    /// Of the object port and of the port for other hosts.
    pub requests: SocketAddr,
    pub peers: SocketAddr,
    linked: Option<Linked>,
}

/// A link that is read, so that the agent does not take the server for dead.
struct Linked {
    orders: mpsc::Sender<Message>,
    task: tokio::task::JoinHandle<()>,
}

impl Linked {
    fn keep(mut link: Link) -> Self {
        let (orders, mut queue) = mpsc::channel::<Message>(16);
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    order = queue.recv() => match order {
                        Some(order) => link.send_raw(order).await,
                        None => return,
                    },
                    heard = link.hears() => if !heard { return },
                }
            }
        });
        Self { orders, task }
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Member {
    /// Enrolled, not started yet.
    pub async fn new(peer: &Peer, more: &str) -> Self {
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::at(peer, at(free_port()), at(free_port()), more).await
    }

    pub async fn at(peer: &Peer, requests: SocketAddr, peers: SocketAddr, more: &str) -> Self {
        let host = Host::new(&format!(
            "[objects]\ncpus = 2.0\nmemory = \"4GiB\"\nlisten = \"{requests}\"\npeer_listen = \"{peers}\"\n{more}\n"
        ));
        let (status, output) = host.enroll(peer, &[]).await;
        assert!(status.success(), "{output}");
        let id = identity(&host).host;
        Self { host, id, requests, peers, linked: None }
    }

    /// Starts, and waits for the link.
    pub async fn start(&mut self, peer: &mut Peer) {
        self.host.start();
        let mut link = peer.raw_link().await;
        let ToServer::Hello { objects, .. } = link.next().await else { panic!("no Hello") };
        assert_eq!(objects, Some(ObjectOffer { address: self.peers.to_string() }));
        link.welcome(self.id).await;
        self.keep(link);
    }

    /// Its link, which a test has begun.
    pub fn keep(&mut self, link: Link) {
        self.linked = Some(Linked::keep(link));
    }

    pub async fn nudge(&self) {
        let linked = self.linked.as_ref().expect("is linked");
        let frame = protocol::encode(&ToAgent::PlanChanged).expect("encodes");
        linked.orders.send(Message::Binary(frame.into())).await.expect("is linked");
    }

    /// The server ends the link as that of a host that was revoked.
    pub async fn revoke(&self) {
        let linked = self.linked.as_ref().expect("is linked");
        let frame = CloseFrame { code: CloseReason::Revoked.code().into(), reason: "".into() };
        linked.orders.send(Message::Close(Some(frame))).await.expect("is linked");
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.linked = None;
        self.host.kill();
    }

    /// Of a deployment, through the object port. None where nobody listens, or the connection breaks.
    pub async fn try_ask(&self, method: &str, name: &str, path: &str, headers: &str) -> Option<(u16, String)> {
        let stream = TcpStream::connect(self.requests).await.ok()?;
        within("an answer", ask(stream, method, name, path, headers, b"")).await
    }

    pub async fn ask(&self, method: &str, name: &str, path: &str) -> (u16, String) {
        self.try_ask(method, name, path, "").await.expect("is answered")
    }

    /// The next number of a counter, and in which life.
    pub async fn count(&self, name: &str, object: &str) -> (u64, String) {
        let (status, text) = self.ask("POST", name, &format!("/{object}")).await;
        assert_eq!(status, 200, "{object}: {text}");
        counted(&text)
    }

    /// Processes of its engines, by its control groups.
    pub fn engines(&self) -> Vec<i32> {
        let mut found: Vec<i32> = self
            .groups()
            .iter()
            .filter_map(|group| std::fs::read_to_string(group.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The control group of engines, in each hierarchy.
    pub fn groups(&self) -> Vec<PathBuf> {
        let directory = std::fs::canonicalize(self.host.state()).expect("a state directory").join("objects");
        let name = format!("berth/{}/engines", agent::environments::tag(&directory));
        let root = PathBuf::from("/sys/fs/cgroup");
        let below = std::fs::read_dir(&root).expect("is mounted").map(|entry| entry.expect("is read").path());
        below.chain([root.clone()]).map(|hierarchy| hierarchy.join(&name)).filter(|group| group.exists()).collect()
    }
}

pub fn counted(text: &str) -> (u64, String) {
    let (number, life) = text.split_once(' ').unwrap_or_else(|| panic!("no counter's answer: {text}"));
    (number.parse().expect("a number"), life.to_owned())
}

pub fn identity(host: &Host) -> Identity {
    let stored = std::fs::read_to_string(host.state().join("identity.toml")).expect("is there");
    toml::from_str(&stored).expect("TOML")
}

/// Status and body. None if the connection breaks.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    method: &str,
    name: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Option<(u16, String)> {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {name}.test\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Agents with a server that a test plays.
pub struct Fleet {
    pub peer: Peer,
    pub members: Vec<Member>,
    pub plan: Plan,
}

impl Fleet {
    /// So many agents, linked, without a deployment.
    pub async fn of(count: usize) -> Self {
        Self::with(Peer::start().await, count, "").await
    }

    pub async fn with(mut peer: Peer, count: usize, more: &str) -> Self {
        let mut members = Vec::new();
        for _ in 0..count {
            let mut member = Member::new(&peer, more).await;
            member.start(&mut peer).await;
            members.push(member);
        }
        Self::made_of(peer, members)
    }

    pub fn made_of(peer: Peer, members: Vec<Member>) -> Self {
        let hosts = members.iter().map(|member| PlannedPeer {
            host: member.id,
            name: "h".to_owned(),
            address: member.peers.to_string(),
        });
        let plan = Plan {
            tenant: TenantId::new(),
            revision: 1,
            deployments: Vec::new(),
            hosts: hosts.collect(),
            peers_ca_pem: peer.authority.ca_pem(),
            deleted: Vec::new(),
        };
        Self { peer, members, plan }
    }

    /// Keeps the code at the server; its digest.
    pub fn bundle(&self, code: &str) -> [u8; 32] {
        let body = Bytes::copy_from_slice(code.as_bytes());
        let modules = vec![Module { name: "index.js".to_owned(), kind: ModuleKind::Esm, body }];
        let bytes = Bundle { modules }.encode().expect("encodes");
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        self.peer.authority.bundles.lock().expect("a lock").insert(digest, bytes);
        digest
    }

    /// Adds a deployment of [`COUNTER`]'s shape to the plan; its groups are spread over all members.
    pub fn plan_counters(&mut self, name: &str, code: &str) -> DeploymentId {
        let digest = self.bundle(code);
        let hosts: Vec<HostId> = self.members.iter().map(|member| member.id).collect();
        let holder = |group: u16| Holder { host: hosts[usize::from(group) % hosts.len()], epoch: 1 };
        let class = PlannedClass { class: "Counter".to_owned(), namespace: NamespaceId::new(), key: [7; 32] };
        let planned = Planned {
            id: DeploymentId::new(),
            name: name.to_owned(),
            version: 1,
            digest,
            main: "index.js".to_owned(),
            vars: Vec::new(),
            bindings: vec![Binding { name: "COUNTERS".to_owned(), class: "Counter".to_owned() }],
            services: Vec::new(),
            limits: CodeLimits::default(),
            classes: vec![class],
            groups: (0..GROUPS).map(|group| Some(holder(group))).collect(),
        };
        let id = planned.id;
        self.plan.deployments.push(planned);
        id
    }

    /// The server has this plan from now on.
    pub fn keep(&mut self) {
        self.plan.revision += 1;
        *self.peer.authority.plan.lock().expect("a lock") = Some(self.plan.clone());
    }

    /// And says so.
    pub async fn tell(&mut self) {
        self.keep();
        for member in self.members.iter().filter(|member| member.linked.is_some()) {
            member.nudge().await;
        }
    }

    /// Deploys counters, and waits until every agent answers for them.
    pub async fn counters(count: usize) -> Self {
        let mut fleet = Self::of(count).await;
        fleet.deploy().await;
        fleet
    }

    pub async fn deploy(&mut self) -> DeploymentId {
        let id = self.plan_counters("counters", COUNTER);
        self.tell().await;
        for member in &self.members {
            self.answers(member, "GET", |status, _| status == 200).await;
        }
        id
    }

    /// Waits until an agent answers so for `counters`.
    pub async fn answers(&self, member: &Member, method: &str, right: impl Fn(u16, &str) -> bool) {
        self.answers_at(member, method, "/first", right).await;
    }

    pub async fn answers_at(&self, member: &Member, method: &str, path: &str, right: impl Fn(u16, &str) -> bool) {
        let begun = Instant::now();
        let mut look = tokio::time::interval(std::time::Duration::from_millis(5));
        let mut last = None;
        loop {
            if let Some((status, text)) = member.try_ask(method, "counters", path, "").await {
                if right(status, &text) {
                    println!("answered so after {} ms", begun.elapsed().as_millis());
                    return;
                }
                last = Some((status, text));
            }
            assert!(begun.elapsed() < crate::peer::LIMIT, "never answered so, but {last:?}");
            look.tick().await;
        }
    }

    /// What an agent answers to the server's question, through its tunnel.
    pub async fn control(network: &Network, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let stream = network.open(Open::Objects { door: Door::Control, deployment: None }).await.expect("is opened");
        let asked = ask(stream, method, "control", path, "", body.as_bytes());
        let (status, text) = within("an answer", asked).await.expect("is answered");
        (status, serde_json::from_str(&text).unwrap_or(serde_json::Value::Null))
    }
}
