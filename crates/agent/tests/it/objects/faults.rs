//! Agents that are killed, servers that are away, disks that are full, hosts with networks of their own.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::{IpAddr, SocketAddr},
    process::Command,
};

use super::fleet::{COUNTER, Fleet, Member, counted};
use crate::peer::{Peer, until};

const OBJECTS: usize = 10;

async fn count_each(member: &Member) -> BTreeMap<usize, u64> {
    let mut told = BTreeMap::new();
    for object in 0..OBJECTS {
        told.insert(object, member.count("counters", &format!("object-{object}")).await.0);
    }
    told
}

fn each(number: u64) -> BTreeMap<usize, u64> {
    (0..OBJECTS).map(|object| (object, number)).collect()
}

#[tokio::test]
async fn numbers_go_on_when_an_agent_was_killed() {
    let mut fleet = Fleet::counters(2).await;
    assert_eq!(count_each(&fleet.members[0]).await, each(1));
    fleet.members[1].kill();
    let (mut there, mut away) = (0, 0);
    for object in 0..OBJECTS {
        match fleet.members[0].ask("GET", "counters", &format!("/object-{object}")).await {
            (200, text) => {
                assert_eq!(counted(&text).0, 1);
                there += 1;
            }
            (status, text) => {
                assert!(status >= 500, "{status} {text}");
                away += 1;
            }
        }
    }
    assert!(there > 0 && away > 0, "{there} here, {away} elsewhere");
    fleet.members[1].start(&mut fleet.peer).await;
    fleet.answers(&fleet.members[1], "GET", |status, _| status == 200).await;
    assert_eq!(count_each(&fleet.members[0]).await, each(2));
    assert_eq!(count_each(&fleet.members[1]).await, each(3));
}

#[tokio::test]
async fn without_the_server_requests_go_on_and_agents_start() {
    let Fleet { peer, mut members, .. } = Fleet::counters(2).await;
    assert_eq!(count_each(&members[0]).await, each(1));
    drop(peer);
    assert_eq!(count_each(&members[1]).await, each(2));
    // By what is kept: an agent that is killed starts without the server.
    members[0].kill();
    members[0].host.start();
    until("the object port answers", || std::net::TcpStream::connect(members[0].requests).is_ok()).await;
    assert_eq!(count_each(&members[0]).await, each(3));
    let plan = members[0].host.state().join("objects/plan");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(plan).expect("is kept").permissions());
    assert_eq!(mode & 0o777, 0o600, "the namespaces' keys are in it");
}

#[tokio::test]
async fn a_full_disk_is_an_error_to_callers_and_nothing_is_lost() {
    let mut peer = Peer::start().await;
    let mut member = Member::new(&peer, "").await;
    // Enrolled on the disk that is mounted over; what it was enrolled as goes along.
    member
        .host
        .before("cp -a DIR/state DIR/kept && mount -t tmpfs -o size=400m none DIR/state && cp -a DIR/kept/. DIR/state");
    member.start(&mut peer).await;
    let mut fleet = Fleet::made_of(peer, vec![member]);
    fleet.deploy().await;
    let member = &fleet.members[0];
    let write = async |size: u32| member.try_ask("POST", "counters", "/big", &format!("x-size: {size}\r\n")).await;
    let (status, text) = write(100).await.expect("is answered");
    assert_eq!((status, counted(&text).0), (200, 1));
    // Seen through the agent: the file system is its own.
    let filler = format!("/proc/{}/root{}/filler", member.host.pid(), member.host.state().display());
    let mut file = fs::File::create(&filler).expect("is made");
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    let mut last = 1;
    let mut failed = 0;
    for _ in 0..40 {
        match write(900_000).await.expect("is answered") {
            (200, text) => last = counted(&text).0,
            (status, text) => {
                assert!(status >= 500, "{status} {text}");
                failed += 1;
            }
        }
        if failed > 2 {
            break;
        }
    }
    assert!(failed > 2, "the disk is full, and {last} writes were acknowledged");
    let (status, text) = member.ask("GET", "counters", "/big").await;
    assert_eq!((status, counted(&text).0), (200, last), "what was acknowledged, and no more");
    fs::remove_file(&filler).expect("is removed");
    let (status, text) = write(900_000).await.expect("is answered");
    assert_eq!((status, counted(&text).0), (200, last + 1));
    // Taken from it with the agent's mount namespace: a second start would find an empty disk.
    fleet.members[0].kill();
}

/// Removes what it made, whatever happens.
struct Networks {
    /// Of `10.N.0.0/24`.
    number: u8,
    bridge: String,
    namespaces: Vec<String>,
    /// The ends on this side, which would stay for as long as a broken connection's last packets.
    cables: Vec<String>,
}

fn ip(arguments: &str) -> bool {
    let done = match Command::new("ip").args(arguments.split(' ')).output() {
        Ok(done) => done,
        Err(error) => {
            eprintln!("ip {arguments}: {error}");
            return false;
        }
    };
    if !done.status.success() {
        eprintln!("ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    }
    done.status.success()
}

/// Gives the bridge its address in `10.N.0.0/24`, unless somebody has that network: of two routes that are added the second is
/// refused, while an address and the route that comes with it are not.
fn take(number: u8, bridge: &str) -> bool {
    let address = format!("10.{number}.0.1/24 dev {bridge}");
    let is_taken = ip(&format!("addr add {address} noprefixroute"))
        && ip(&format!("route add 10.{number}.0.0/24 dev {bridge} src 10.{number}.0.1"));
    if !is_taken {
        ip(&format!("addr del {address}"));
    }
    is_taken
}

impl Networks {
    /// A bridge at `10.N.0.1`, and namespaces at `.2` and on. None where this computer does not allow it.
    fn make(count: u8) -> Option<Self> {
        let tag = format!("bt{}", std::process::id() % 100_000);
        let bridge = format!("{tag}b");
        if !ip(&format!("link add {bridge} type bridge")) {
            return None;
        }
        let mut made = Self { number: 0, bridge: bridge.clone(), namespaces: Vec::new(), cables: Vec::new() };
        if !ip(&format!("link set {bridge} up")) {
            return None;
        }
        let number = (100..250).find(|number| take(*number, &bridge))?;
        made.number = number;
        for host in 0..count {
            let (namespace, outer, inner) = (format!("{tag}n{host}"), format!("{tag}o{host}"), format!("{tag}i{host}"));
            if !ip(&format!("netns add {namespace}")) {
                return None;
            }
            made.namespaces.push(namespace.clone());
            made.cables.push(outer.clone());
            let done = ip(&format!("link add {outer} type veth peer name {inner}"))
                && ip(&format!("link set {outer} master {bridge} up"))
                && ip(&format!("link set {inner} netns {namespace}"))
                && ip(&format!("-n {namespace} addr add 10.{number}.0.{}/24 dev {inner}", host + 2))
                && ip(&format!("-n {namespace} link set {inner} up"))
                && ip(&format!("-n {namespace} link set lo up"));
            if !done {
                return None;
            }
        }
        Some(made)
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for (namespace, cable) in self.namespaces.iter().zip(&self.cables) {
            ip(&format!("link del {cable}"));
            ip(&format!("netns del {namespace}"));
        }
        ip(&format!("link del {}", self.bridge));
    }
}

#[tokio::test]
async fn hosts_with_networks_of_their_own() {
    let Some(networks) = Networks::make(2) else {
        eprintln!(
            "SKIPPED: hosts_with_networks_of_their_own needs root, `ip` and network namespaces, which are not to be had here"
        );
        return;
    };
    let at = |host: u8| IpAddr::from([10, networks.number, 0, host]);
    let mut peer = Peer::start_at(at(1)).await;
    let mut members = Vec::new();
    for (namespace, host) in networks.namespaces.iter().zip(2..) {
        let (requests, peers) = (SocketAddr::new(at(host), 8787), SocketAddr::new(at(host), 8788));
        let mut member = Member::at(&peer, requests, peers, "").await;
        member.host.wrap(&["ip", "netns", "exec", namespace]);
        member.start(&mut peer).await;
        members.push(member);
    }
    let mut fleet = Fleet::made_of(peer, members);
    fleet.plan_counters("counters", COUNTER);
    fleet.tell().await;
    for member in &fleet.members {
        fleet.answers(member, "GET", |status, _| status == 200).await;
    }
    assert_eq!(count_each(&fleet.members[0]).await, each(1));
    assert_eq!(count_each(&fleet.members[1]).await, each(2));
    // The one's network is cut off: its objects are away, the other's are not, and afterwards the numbers go on.
    let cable = &networks.cables[1];
    assert!(ip(&format!("link set {cable} down")));
    let mut there = 0;
    for object in 0..OBJECTS {
        let (status, _) = fleet.members[0].ask("GET", "counters", &format!("/object-{object}")).await;
        there += usize::from(status == 200);
    }
    assert!((1..OBJECTS).contains(&there), "{there} of {OBJECTS} are on the host that is left");
    assert!(ip(&format!("link set {cable} up")));
    fleet.answers(&fleet.members[1], "GET", |status, _| status == 200).await;
    let mut last = BTreeMap::new();
    for object in 0..OBJECTS {
        let path = format!("/object-{object}");
        fleet.answers_at(&fleet.members[0], "GET", &path, |status, _| status == 200).await;
        last.insert(object, fleet.members[0].count("counters", &path[1..]).await.0);
    }
    assert_eq!(last, each(3));
    drop(fleet);
    drop(networks);
}

/// Debian's `nobody`.
const NOBODY: u32 = 65_534;

#[tokio::test]
async fn an_agent_without_root_runs_objects() {
    let mut peer = Peer::start().await;
    let mut member = Member::new(&peer, "").await;
    let directory = member.host.path().to_owned();
    // A copy, because the build's directory may be closed to others.
    let program = directory.join("berth-agent");
    fs::copy(env!("CARGO_BIN_EXE_berth-agent"), &program).expect("copied");
    let open = |path: &std::path::Path| {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("opened");
    };
    open(&directory);
    open(&program);
    let given =
        Command::new("chown").args(["-R", "65534:65534"]).arg(member.host.state()).status().expect("chown runs");
    assert!(given.success());
    let script = format!("shift; exec {} \"$@\"", program.display());
    let nobody = NOBODY.to_string();
    member.host.wrap(&["setpriv", "--reuid", &nobody, "--regid", &nobody, "--clear-groups", "sh", "-c", &script, "sh"]);
    member.start(&mut peer).await;
    let mut fleet = Fleet::made_of(peer, vec![member]);
    fleet.deploy().await;
    let member = &fleet.members[0];
    for number in 1..=3 {
        assert_eq!(member.count("counters", "rootless").await.0, number);
    }
    let owner =
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{}", member.host.pid())).expect("runs"));
    assert_eq!(owner, NOBODY);
    assert!(member.groups().is_empty(), "{:?}", member.groups());
    assert!(member.host.log().contains("engines are limited one by one"), "{}", member.host.log());
}
