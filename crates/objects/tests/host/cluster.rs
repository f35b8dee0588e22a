//! Hosts that share the objects of one deployment, over TCP.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use objects::{
    host::{
        elsewhere::{Connection, Dial, Directory, Elsewhere, Peer, Place},
        log::ObjectKey,
    },
    wire::Problem,
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::hosted::{Hosted, Setting, write_project};

pub fn peer(number: usize) -> Peer {
    Peer([u8::try_from(number).expect("few hosts"); 16])
}

/// Which host has what, as one host sees it, and where the others are.
pub struct Map {
    me: usize,
    hosts: usize,
    addresses: Mutex<HashMap<Peer, SocketAddr>>,
    /// What this host believes besides, until it is told that it is wrong.
    pub belief: Mutex<Option<Place>>,
    /// What it believes for ever.
    pub faith: Mutex<Option<Place>>,
    pub told_wrong: AtomicUsize,
    pub dialled: AtomicUsize,
}

impl Map {
    pub fn new(me: usize, hosts: usize) -> Arc<Self> {
        Arc::new(Map {
            me,
            hosts,
            addresses: Mutex::default(),
            belief: Mutex::default(),
            faith: Mutex::default(),
            told_wrong: AtomicUsize::new(0),
            dialled: AtomicUsize::new(0),
        })
    }

    pub fn elsewhere(self: &Arc<Self>) -> Elsewhere {
        let (directory, dial) = (Arc::clone(self), Arc::clone(self));
        Elsewhere { directory, dial }
    }

    pub fn is_at(&self, number: usize, address: SocketAddr) {
        self.addresses.lock().expect("no panic").insert(peer(number), address);
    }
}

impl Directory for Map {
    fn place(&self, deployment: &str, object: &ObjectKey) -> Place {
        assert_eq!(deployment, "test");
        if let Some(place) = self.faith.lock().expect("no panic").clone() {
            return place;
        }
        if let Some(place) = self.belief.lock().expect("no panic").clone() {
            return place;
        }
        match usize::from(object.id[0]) % self.hosts {
            number if number == self.me => Place::Here { least_epoch: 1 },
            number => Place::At(peer(number)),
        }
    }

    fn misdirected<'a>(&'a self, _deployment: &'a str, _object: &'a ObjectKey, _by: Peer) -> BoxFuture<'a, ()> {
        Box::pin(async {
            self.told_wrong.fetch_add(1, Ordering::SeqCst);
            *self.belief.lock().expect("no panic") = None;
        })
    }
}

impl Dial for Map {
    fn dial(&self, peer: Peer) -> BoxFuture<'_, io::Result<Box<dyn Connection>>> {
        let address = self.addresses.lock().expect("no panic").get(&peer).copied();
        self.dialled.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let stream = TcpStream::connect(address.ok_or(io::ErrorKind::AddrNotAvailable)?).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }
}

/// One of the hosts.
pub struct Member {
    pub hosted: Hosted,
    pub map: Arc<Map>,
    pub peers: SocketAddr,
}

impl Member {
    pub fn start(directory: &Path, number: usize, hosts: usize, setting: Setting) -> Self {
        let map = Map::new(number, hosts);
        let state = directory.join(format!("state-{number}"));
        let hosted = Hosted::start(directory, &state, Setting { elsewhere: Some(map.elsewhere()), ..setting });
        let listener = hosted.run(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let peers = listener.local_addr().expect("an address");
        let host = Arc::clone(&hosted.host);
        hosted.spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("is set");
                tasks.spawn(host.serve_peer(stream));
            }
        });
        Member { hosted, map, peers }
    }
}

/// Hosts that know each other.
pub fn start(directory: &Path, hosts: usize, setting: impl Fn() -> Setting) -> Vec<Member> {
    let members: Vec<Member> = (0..hosts).map(|number| Member::start(directory, number, hosts, setting())).collect();
    for member in &members {
        for (number, other) in members.iter().enumerate() {
            member.map.is_at(number, other.peers);
        }
    }
    members
}

/// Hosts that run a module whose class is `Obj`, with the folder that they live in.
pub fn of_module(module: &str, hosts: usize) -> (TempDir, Vec<Member>) {
    let directory = TempDir::new().expect("a directory");
    write_project(directory.path(), &["Obj"], module);
    let members = start(directory.path(), hosts, Setting::default);
    (directory, members)
}

pub fn nowhere() -> Place {
    Place::Nowhere(Problem { retryable: true, ..Problem::new("Error", "nobody has it") })
}
