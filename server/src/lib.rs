//! berth-server: the portal (pages, REST v1, live events) and the agents' port, in one process.

pub mod admin;
pub mod agents;
pub mod caller;
pub mod config;
mod deployments;
mod error_page;
pub mod extract;
pub mod failure;
mod health;
mod large;
mod notebooks;
mod origins;
mod outside;
mod pace;
mod pages;
mod passing;
pub mod projects;
mod replicas;
pub mod rest;
mod router;
mod seats;
pub mod security;
pub mod sign_in;
pub mod state;
mod tasks;
mod upload;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::serve::ListenerExt as _;
use leptos::config::LeptosOptions;
use metrics_exporter_prometheus::PrometheusBuilder;
use services::{Clock, Services};
use store::{Store, StoreOptions};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::Config, state::AppState};

/// Requests that are under way get this long once the server is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Connects to the database and brings its schema up to this build's.
pub async fn open(config: &Config) -> Result<Services> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make data_dir {}", config.data_dir.display()))?;
    let options = StoreOptions { url: config.database_url(), max_connections: config.database.max_connections };
    let store = Store::connect(&options).await.context("cannot open the database; see database.url")?;
    store.migrate().await.context("cannot bring the database's schema up to date")?;
    let mut settings = config.settings();
    settings.server_key = Some(config.server_key().context("see server_key_file")?);
    let services = Services::new(store, Clock::system(), settings);
    replicas::join(&services);
    Ok(services)
}

/// A server that has its ports.
pub struct Server {
    pub address: SocketAddr,
    /// Where agents dial in.
    pub agents_address: SocketAddr,
    listener: TcpListener,
    agents: agents::Listener,
    state: AppState,
    tracker: TaskTracker,
}

impl Server {
    /// Takes the ports; nothing is answered before [`Server::run`].
    pub async fn bind(mut config: Config) -> Result<Self> {
        let agents = &config.agents;
        let agents = agents::Listener::bind(agents.listen, agents.names.clone(), agents.max_links).await?;
        let agents_address = agents.address;
        // Port 0 takes any that is free: zero certificates have to name the one that was taken.
        config.agents.listen.set_port(agents_address.port());
        let services = open(&config).await?;
        let listener =
            TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
        let address = listener.local_addr()?;
        let known_at = config.replica_address();
        services::replicas::join(&services, &known_at).await.context("cannot register among the servers")?;
        let leptos = LeptosOptions::builder()
            .output_name("app")
            .site_root(config.site_dir.display().to_string())
            .site_pkg_dir("pkg")
            .site_addr(address)
            .build();
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::debug!("figures go to the recorder that this process already has");
        }
        let stop = CancellationToken::new();
        let state = AppState { services, config: Arc::new(config), leptos, metrics, stop };
        Ok(Self { address, agents_address, listener, agents, state, tracker: TaskTracker::new() })
    }

    /// Serves until `stopped` is done, then lets requests and tasks finish.
    pub async fn run(self, stopped: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self { listener, agents, state, tracker, .. } = self;
        let stop = state.stop.clone();
        let served = CancellationToken::new();
        tasks::start(&state, &tracker, &stop, &served);
        tracker.spawn(agents.run(state.services.clone(), tracker.clone(), stop.clone()));
        tracker.close();
        let router = router::router(state).into_make_service_with_connect_info::<SocketAddr>();
        let signal = stop.clone();
        tokio::spawn(async move {
            stopped.await;
            signal.cancel();
        });
        // Without it what is written in two pieces, as a kernel's answer is, waits for the browser's delayed acknowledgement: 40 ms.
        let listener = listener.tap_io(|tcp| {
            if let Err(error) = tcp.set_nodelay(true) {
                tracing::debug!(%error, "a connection sends its pieces late");
            }
        });
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let serving = tokio::spawn(std::future::IntoFuture::into_future(serving));
        stop.cancelled().await;
        tracing::info!("stopping");
        if tokio::time::timeout(GRACE, serving).await.is_err() {
            tracing::warn!("some requests did not finish in {} s; they are cut", GRACE.as_secs());
        }
        served.cancel();
        if tokio::time::timeout(GRACE, tracker.wait()).await.is_err() {
            tracing::warn!("some tasks did not finish in {} s; they are cut", GRACE.as_secs());
        }
        Ok(())
    }
}
