//! Connections to sockets that listen inside an environment, from outside its network namespace.

use std::{fs::File, io, net::Ipv4Addr, os::fd::AsRawFd, os::unix::net::UnixStream as StdUnix, time::Duration};

use nix::sched::{CloneFlags, setns};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use tokio::{
    net::{TcpStream, UnixStream},
    task::spawn_blocking,
};

use super::{ConnectError, Connection, Target};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Connects to a port or socket of the environment whose first process is `pid`.
pub async fn connect(pid: i32, to: &Target) -> Result<Box<dyn Connection>, ConnectError> {
    match to {
        Target::Port(port) => {
            let port = *port;
            let refused = |source| ConnectError::Refused { to: format!("port {port}"), source };
            let stream = spawn_blocking(move || dial(pid, port)).await.map_err(io::Error::other).and_then(|done| done);
            let stream = stream.and_then(|stream| {
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            });
            Ok(Box::new(stream.map_err(refused)?))
        }
        Target::UnixSocket(path) => {
            if !path.starts_with('/') || path.len() > 4096 {
                return Err(ConnectError::BadPath(path.chars().take(100).collect()));
            }
            let refused = |source| ConnectError::Refused { to: path.clone(), source };
            Ok(Box::new(open_unix(pid, path).map_err(refused)?))
        }
    }
}

/// On a thread of its own, which ends afterwards: a thread keeps the namespace that it entered.
fn dial(pid: i32, port: u16) -> io::Result<std::net::TcpStream> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    let thread = std::thread::Builder::new().name("dial".to_owned()).spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        std::net::TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), CONNECT_LIMIT)
    })?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the dialling thread failed")))
}

fn open_unix(pid: i32, path: &str) -> io::Result<UnixStream> {
    let root = File::open(format!("/proc/{pid}/root"))?;
    // Links are followed inside the environment's root only, so that it cannot point the agent at a host's socket.
    let socket = openat2(
        &root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    let stream = StdUnix::connect(format!("/proc/self/fd/{}", socket.as_raw_fd()))?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
