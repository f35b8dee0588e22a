//! Carries TCP connections from chosen ports of a sandbox's loopback to the same ports of the host's loopback.
//!
//! A process of its own in the sandbox's control group, so that it survives a restart of the agent as the sandbox does
//! and goes when that is killed. It listens inside, connects outside, and runs as the session's user.

use std::{
    io,
    net::{Ipv4Addr, TcpListener as StdListener},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
};

use rustix::thread::set_no_new_privs;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use super::{
    super::Cause,
    cannot::{Cannot, cannot},
    exec::{HELPER_LIMIT, Helper},
    helper::{Forward, Reply, Request, become_user, in_network_of, join_cgroups, send_reply},
};

/// The most connections at a time, over all ports; more wait in the listeners' queues.
const MAX_CONNECTIONS: usize = 256;

/// The agent's half: returns when the ports are listened at in the environment whose first process is `pid`.
pub async fn start(
    helper: &PathBuf,
    procs_files: Vec<PathBuf>,
    pid: i32,
    uid: Option<u32>,
    ports: &[u16],
) -> Result<(), Cause> {
    let request = Request::Forward(Forward { procs_files, pid, uid, ports: ports.to_vec() });
    let mut helper = Helper::start(helper, &request, Vec::new()).await?;
    match timeout(HELPER_LIMIT, helper.reply()).await {
        Ok(Ok(Reply::Started)) => Ok(()),
        Ok(Ok(Reply::Failed { message })) => Err(message.into()),
        Ok(Ok(Reply::StartedAs { .. } | Reply::ExitedCode(_) | Reply::ExitedSignal(_) | Reply::NoProgram { .. })) => {
            Err("the port forwarder gave an answer that makes no sense".into())
        }
        Ok(Err(error)) => Err(cannot("start the port forwarder")(error).into()),
        Err(_elapsed) => Err("the port forwarder did not start in time".into()),
    }
}

pub(super) fn serve(socket: &mut UnixStream, order: &Forward) -> Result<(), Cannot> {
    nix::unistd::setsid().map_err(cannot("begin a session"))?;
    join_cgroups(&order.procs_files)?;
    // A socket stays in the namespace in which it was made, whoever uses it.
    let listeners = in_network_of(order.pid, || {
        order
            .ports
            .iter()
            .map(|port| {
                let listener = StdListener::bind((Ipv4Addr::LOCALHOST, *port))?;
                listener.set_nonblocking(true)?;
                Ok((*port, listener))
            })
            .collect::<io::Result<Vec<_>>>()
    })
    .map_err(cannot("listen in the sandbox"))?;
    if let Some(uid) = order.uid {
        become_user(uid)?;
    }
    set_no_new_privs(true).map_err(cannot("forbid new privileges"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(cannot("carry connections"))?;
    runtime.block_on(async {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut accepting = tokio::task::JoinSet::new();
        for (port, listener) in listeners {
            let listener = TcpListener::from_std(listener).map_err(cannot("listen in the sandbox"))?;
            accepting.spawn(accept(port, listener, slots.clone()));
        }
        send_reply(socket, &Reply::Started)?;
        // It ends with the sandbox's control group; if all listeners fail there is nothing left to do.
        while accepting.join_next().await.is_some() {}
        Ok(())
    })
}

async fn accept(port: u16, listener: TcpListener, slots: Arc<Semaphore>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok(slot) = slots.clone().acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((inner, _)) => {
                connections.spawn(async move {
                    carry(inner, port).await;
                    drop(slot);
                });
            }
            // Out of descriptors or the like: others may end and free some.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

async fn carry(mut inner: TcpStream, port: u16) {
    // A refused or broken connection shows inside as a closed one, which is all that TCP can say.
    if let Ok(mut outer) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        drop(tokio::io::copy_bidirectional(&mut inner, &mut outer).await);
    }
}
