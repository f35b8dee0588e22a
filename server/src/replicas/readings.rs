//! Readings of hosts, from the server that holds their links to the others: what they show is as new, and stored nowhere.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use axum::extract::ws::{Message as Incoming, WebSocket};
use domain::{
    hosts::HostMetrics,
    ids::{HostId, TenantId},
};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use services::{Services, links, replicas};
use tokio::{
    sync::broadcast::error::RecvError,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::call;

/// Readings are collected for so long: one message carries those of many hosts.
const PERIOD: Duration = Duration::from_secs(1);
/// Readings in one message.
const BATCH: usize = 500;
const MAX_MESSAGE_BYTES: usize = 512 * 1024;
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// A server from which nothing came for this long is called anew: there is a message each period, be it empty.
const SILENCE: Duration = Duration::from_secs(10);
/// How often the list of servers is read.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// The most servers that are followed.
const MAX_FOLLOWED: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
struct Told {
    tenant: TenantId,
    host: HostId,
    metrics: HostMetrics,
}

/// Tells another server, until it goes away.
pub(super) async fn tell(mut socket: WebSocket, services: &Services) {
    let mut coming = services.live().readings();
    let mut newest: HashMap<HostId, Told> = services
        .links()
        .own_readings()
        .into_iter()
        .map(|reading| (reading.host, Told { tenant: reading.tenant, host: reading.host, metrics: reading.metrics }))
        .collect();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            reading = coming.recv() => match reading {
                Ok(reading) if reading.is_own => {
                    let (tenant, host, metrics) = (reading.tenant, reading.host, reading.metrics);
                    newest.insert(host, Told { tenant, host, metrics });
                }
                // Newer ones of the same hosts follow within a heartbeat.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            heard = socket.recv() => match heard {
                Some(Ok(Incoming::Ping(_) | Incoming::Pong(_))) => {}
                Some(Ok(Incoming::Binary(_) | Incoming::Text(_) | Incoming::Close(_)) | Err(_)) | None => return,
            },
            _ = ticks.tick() => {
                let batch: Vec<Told> = newest.drain().map(|(_, told)| told).collect();
                // At least one message: it says that this server is there.
                let mut chunks: Vec<&[Told]> = batch.chunks(BATCH).collect();
                if chunks.is_empty() {
                    chunks.push(&batch);
                }
                for chunk in chunks {
                    let Ok(frame) = rmp_serde::to_vec_named(chunk) else { return };
                    let sent = timeout(WRITE_LIMIT, socket.send(Incoming::Binary(frame.into()))).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        return;
                    }
                }
            }
        }
    }
}

/// Follows every other server until `stop`.
pub async fn follow(services: Services, stop: CancellationToken) {
    let mut followed: HashSet<Uuid> = HashSet::new();
    let mut tasks: JoinSet<Uuid> = JoinSet::new();
    let mut looks = interval(LOOK_PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                Ok(id) => {
                    followed.remove(&id);
                }
                Err(error) => tracing::error!(%error, "a task that follows another server failed"),
            },
            _ = looks.tick() => match replicas::others(&services).await {
                Ok(others) => {
                    for replica in others {
                        if followed.len() < MAX_FOLLOWED && followed.insert(replica.id) {
                            let services = services.clone();
                            tasks.spawn(async move {
                                listen(&services, &replica).await;
                                replica.id
                            });
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot read which servers there are; trying again"),
            },
        }
    }
}

/// What one server tells, until it is gone or silent.
async fn listen(services: &Services, replica: &replicas::Replica) {
    let mut socket = match call::websocket(services, replica, "/replica/readings", MAX_MESSAGE_BYTES).await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, address = replica.address, "cannot follow another server; trying again");
            return;
        }
    };
    while let Ok(Some(Ok(message))) = timeout(SILENCE, socket.next()).await {
        let frame = match message {
            Message::Binary(frame) => frame,
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Text(_) | Message::Close(_) | Message::Frame(_) => return,
        };
        let Ok(told) = rmp_serde::from_slice::<Vec<Told>>(&frame) else {
            tracing::warn!(
                address = replica.address,
                "another server told what cannot be read; is it of this version?"
            );
            return;
        };
        for Told { tenant, host, metrics } in told {
            links::read_elsewhere(services, tenant, host, metrics);
        }
    }
}
