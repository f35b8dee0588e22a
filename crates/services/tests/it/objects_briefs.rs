//! The list of many deployments: what is asked of hosts for it, and how often.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use domain::{
    deployments::{Deployment, ObjectOffer},
    hosts::HostLink,
    ids::{DeploymentId, HostId, StreamId},
    people::Role,
};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use protocol::{
    objects::control::{AskBriefs, Brief, Briefs},
    tunnel::{Control, Door, Frame, MAX_DATA_BYTES, Open},
};
use services::{
    Call,
    links::{self, Tunnel},
    objects::{self, AllBriefs},
    page::{Page, PageAsk},
};
use store::Store;
use testkit::World;

use crate::deployments::{ask, deploy};

/// More than one page of the list has.
const MANY: usize = 120;
const PAGE: usize = 100;

/// The host's end of its tunnel: answers what it is asked about its objects, and keeps what that was.
struct Host {
    tunnel: Arc<Tunnel>,
    asked: Arc<Mutex<Vec<AskBriefs>>>,
}

impl Host {
    async fn link(world: &World, host: HostId) -> Arc<Mutex<Vec<AskBriefs>>> {
        let peer = links::Peer {
            tenant: world.tenant,
            host,
            name: "first".to_owned(),
            serial: "1".to_owned(),
            expires_at: Timestamp::MAX,
        };
        let tunnel = Tunnel::new(peer);
        links::tunnel_up(&world.services, &tunnel).await;
        let asked = Arc::<Mutex<Vec<AskBriefs>>>::default();
        tokio::spawn(Self { tunnel, asked: asked.clone() }.answer());
        asked
    }

    async fn answer(self) {
        let mut requests: HashMap<StreamId, Vec<u8>> = HashMap::new();
        loop {
            match self.tunnel.next().await {
                Frame::Open(stream, Open::Objects { door: Door::Control, .. }) => {
                    requests.insert(stream, Vec::new());
                    self.say(Frame::Control(stream, Control::Opened { terminal: None, standing: None }));
                }
                Frame::Data(stream, data) => {
                    let request = requests.entry(stream).or_default();
                    request.extend_from_slice(&data);
                    if let Some(question) = question(request) {
                        let told = serde_json::to_vec(&briefs(&question)).expect("plain data");
                        self.asked.lock().expect("the questions").push(question);
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", told.len());
                        for piece in [head.as_bytes(), &told].concat().chunks(MAX_DATA_BYTES) {
                            self.say(Frame::Data(stream, Bytes::copy_from_slice(piece)));
                        }
                    }
                }
                Frame::Open(..) | Frame::Control(..) | Frame::ErrorData(..) | Frame::Credit(..) => {}
            }
        }
    }

    fn say(&self, frame: Frame) {
        self.tunnel.received(frame).expect("the rules are kept");
    }
}

/// Once all of it is there.
fn question(request: &[u8]) -> Option<AskBriefs> {
    let text = String::from_utf8_lossy(request);
    let (head, body) = text.split_once("\r\n\r\n")?;
    assert!(head.starts_with("POST /briefs "), "{head}");
    serde_json::from_str(body).ok()
}

fn briefs(AskBriefs { deployments }: &AskBriefs) -> Briefs {
    let brief = |deployment: &DeploymentId| Brief {
        deployment: *deployment,
        version: Some(1),
        problem: None,
        refused: None,
        live: 7,
        requests: Vec::new(),
    };
    Briefs { briefs: deployments.iter().map(brief).collect() }
}

async fn look(world: &World, call: &Call, cursor: Option<String>) -> (Page<Deployment>, AllBriefs) {
    let ask = PageAsk { limit: None, cursor };
    objects::briefs(&world.services, call, &ask).await.expect("may look")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_many_asks_each_host_once_for_all_who_look() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await;
        let bob = world.person("Bob", Role::Manager).await;
        let (first, away) = (world.host("first").await, world.host("gone").await);
        for (host, link) in [(first, HostLink::Online), (away, HostLink::Offline)] {
            world.offer_objects(host, Some(ObjectOffer { address: "first:7443".to_owned() })).await;
            world.set_link(host, link).await;
        }
        let asked = Host::link(&world, first).await;
        let asked = || asked.lock().expect("the questions").clone();
        let (none, told) = look(&world, &ada, None).await;
        assert!(none.items.is_empty() && told.hosts.is_empty() && asked().is_empty());
        for number in 0..MANY {
            deploy(&world, &ada, &ask(&format!("many-{number:03}"), "1")).await;
        }

        let looks = (0..20).map(|viewer| look(&world, if viewer % 2 == 0 { &ada } else { &bob }, None));
        let all = join_all(looks).await;
        assert_eq!(asked().len(), 1, "all who look at once share one question");
        for (page, told) in &all {
            assert_eq!((page.items.len(), told.hosts.len()), (PAGE, 2));
            let (there, silent) = (&told.hosts[0], &told.hosts[1]);
            for deployment in &page.items {
                let brief = there.of(deployment.id).brief.expect("answered").expect("has come to it");
                assert_eq!((brief.version, brief.live), (Some(1), 7), "{}", deployment.name);
                assert_eq!(silent.of(deployment.id).brief, Err("the host is offline"));
            }
        }

        let next = all[0].0.next_cursor.clone();
        let (rest, _) = look(&world, &ada, next).await;
        let shown: Vec<_> = rest.items.iter().map(|deployment| deployment.id).collect();
        assert_eq!((shown.len(), &asked()[1].deployments), (MANY - PAGE, &shown), "hosts are asked for what is shown");

        world.clock.advance(SignedDuration::from_secs(1));
        look(&world, &bob, None).await;
        assert_eq!(asked().len(), 2, "what was told a moment ago is told again");
        world.clock.advance(SignedDuration::from_secs(2));
        look(&world, &bob, None).await;
        assert_eq!(asked().len(), 3);

        // What was told of one version says nothing of the next.
        deploy(&world, &ada, &ask("many-000", "2")).await;
        look(&world, &bob, None).await;
        assert_eq!(asked().len(), 4);
        let (deployment, told) = objects::rollout(&world.services, &bob, "many-000").await.expect("may look");
        assert_eq!((deployment.version, asked().len()), (2, 5));
        assert_eq!(asked()[4].deployments, [deployment.id]);
        let brief = told.hosts[0].of(deployment.id).brief.expect("answered").expect("has come to it");
        assert_eq!(brief.version, Some(1), "the host has the version before");
    })
    .await;
}
