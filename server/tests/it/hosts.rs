//! Hosts of the test's own making: enrolled and linked over TLS as any, each step in the test's hand.

use agent::{
    dial::{Dialer, Trust},
    enroll::{self, EnrollError},
    identity::make_key,
    link::{Link, LinkError, Welcome},
};
use domain::{
    hosts::HostMetrics,
    ids::{HostId, TransactionId},
    labels::Labels,
    machines::{MachineKind, MachineLimits},
};
use protocol::{OfferedMachine, ToAgent, ToServer, VERSION, enroll::ZeroCertificateFile};
use serde_json::json;

use crate::site::{LIMIT, until};

const BUFFER_BYTES: usize = 16 * 1024;

/// A new zero certificate, made by REST.
pub async fn zero(url: &str, token: &str, uses: u32) -> ZeroCertificateFile {
    let ask = json!({"name": "test", "max_uses": uses, "lifetime_hours": 1, "join": "open"});
    let made = crate::site::json(url, token, "POST", "/zero-certificates", Some(ask)).await;
    toml::from_str(made["file"].as_str().expect("the file")).expect("TOML")
}

pub struct Host {
    pub id: HostId,
    pub dialer: Dialer,
    pub trust: Trust,
    pub certificate_pem: String,
    pub key_pem: String,
}

impl Host {
    /// Joins under `name`.
    pub async fn join(zero: &ZeroCertificateFile, name: &str) -> Self {
        let trust = Trust::new(&zero.ca_pem).expect("a CA");
        let key_pem = make_key().expect("a key");
        // A tenant's first zero certificate brings an authority that the port takes a moment to know.
        let ask = || async {
            match enroll::ask(zero, &trust, name, &key_pem).await {
                Ok(answer) => Some(answer),
                Err(EnrollError::Broken(_) | EnrollError::Dial(_)) => None,
                Err(error) => panic!("{error}"),
            }
        };
        let answer = until("the host joins", ask).await;
        let certificate_pem = answer.certificate_pem;
        let dialer = Self::dialer(&trust, &zero.server, &certificate_pem, &key_pem);
        Self { id: answer.host, dialer, trust, certificate_pem, key_pem }
    }

    fn dialer(trust: &Trust, server: &str, certificate_pem: &str, key_pem: &str) -> Dialer {
        Dialer::new(server, trust.client(certificate_pem, key_pem).expect("they belong together")).expect("an address")
    }

    /// The same host at another server.
    pub fn at(&self, server: String) -> Self {
        let dialer = Self::dialer(&self.trust, &server, &self.certificate_pem, &self.key_pem);
        Self {
            id: self.id,
            dialer,
            trust: self.trust.clone(),
            certificate_pem: self.certificate_pem.clone(),
            key_pem: self.key_pem.clone(),
        }
    }

    pub async fn try_link(&self, hello: ToServer) -> Result<(Link, Welcome), LinkError> {
        Link::open(&self.dialer, &hello, BUFFER_BYTES).await
    }

    /// Linked, and available.
    pub async fn link(&self, open: Vec<TransactionId>) -> Talk {
        let (mut link, _) = self.try_link(hello(open)).await.expect("links");
        link.send(&heartbeat(0.5)).await.expect("sends");
        Talk { link }
    }

    /// As [`Host::link`], when the server is there again.
    pub async fn link_again(&self, open: Vec<TransactionId>) -> Talk {
        let begun = std::time::Instant::now();
        loop {
            match self.try_link(hello(open.clone())).await {
                Ok((mut link, _)) => {
                    link.send(&heartbeat(0.5)).await.expect("sends");
                    return Talk { link };
                }
                Err(error) => assert!(begun.elapsed() < LIMIT, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }
}

pub fn hello(open: Vec<TransactionId>) -> ToServer {
    let limits = MachineLimits { cpu_millis: 1_000, memory_bytes: 1 << 30, pids: 100, disk_bytes: 1 << 30 };
    ToServer::Hello {
        notebooks: None,
        objects: None,
        runs: vec![],
        oldest_version: VERSION,
        newest_version: VERSION,
        agent_version: "test".to_owned(),
        labels: Labels::default(),
        machines: vec![OfferedMachine {
            name: "0".to_owned(),
            kind: MachineKind::Sandbox,
            labels: Labels::default(),
            limits,
        }],
        reports: vec![],
        open,
    }
}

pub fn heartbeat(cpu_used: f32) -> ToServer {
    let at_ms = services::Clock::system().now().as_millisecond();
    ToServer::Heartbeat { available: true, metrics: HostMetrics { at_ms, cpu_used, ..HostMetrics::default() } }
}

/// A host's end of its link.
pub struct Talk {
    pub link: Link,
}

impl Talk {
    pub async fn say(&mut self, message: ToServer) {
        self.link.send(&message).await.expect("sends");
    }
    pub async fn next(&mut self) -> Result<ToAgent, LinkError> {
        tokio::time::timeout(LIMIT, self.link.receive()).await.expect("a message")
    }
    /// The next offer of `id`; what else is offered or cancelled meanwhile is passed over.
    pub async fn offered(&mut self, id: TransactionId) {
        loop {
            match self.next().await.expect("the link stays") {
                ToAgent::Offer { transaction } if transaction == id => return,
                ToAgent::Offer { .. } | ToAgent::Cancel { .. } => {}
                other @ (ToAgent::Welcome { .. }
                | ToAgent::Instructions { .. }
                | ToAgent::NotYours { .. }
                | ToAgent::Acknowledge { .. }
                | ToAgent::Renewed { .. }
                | ToAgent::OpenTunnel
                | ToAgent::PlanChanged) => panic!("{other:?}"),
            }
        }
    }
    /// The answer, past repeated offers.
    pub async fn answer(&mut self) -> ToAgent {
        loop {
            match self.next().await.expect("the link stays") {
                ToAgent::Offer { .. } => {}
                answer @ (ToAgent::Welcome { .. }
                | ToAgent::Cancel { .. }
                | ToAgent::Instructions { .. }
                | ToAgent::NotYours { .. }
                | ToAgent::Acknowledge { .. }
                | ToAgent::Renewed { .. }
                | ToAgent::OpenTunnel
                | ToAgent::PlanChanged) => return answer,
            }
        }
    }
    pub async fn claim(&mut self, transaction: TransactionId) -> ToAgent {
        self.say(ToServer::Claim { transaction }).await;
        self.answer().await
    }
}
