//! What a test asks of objects and of the entry worker, and what comes of it.

use super::{Caller, Host, Kept};
use crate::engine::ops;
use crate::wire::{
    self, Activation, Answer, Body, EventId, EventKind, Headers, HttpRequest, HttpResponse, NamespaceIndex, ObjectId,
    Open, PAGE_BYTES, Problem, Redirect, Seq, ToEngine,
};
use rand::Rng as _;
use std::rc::Rc;

/// How an event ended.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::engine::tests) enum Outcome {
    Response(HttpResponse),
    Value(wire::Passed),
    Failed(Problem),
    Alarm(wire::AlarmOutcome),
    Inspected(Result<String, String>),
}

impl Host {
    /// Whether it said of itself, when it was quiet last, that it can hibernate.
    pub(in crate::engine::tests) fn hibernates(&self, name: &str) -> Option<bool> {
        self.hibernates.get(&self.live(name)?).copied()
    }

    pub(in crate::engine::tests) fn id(&self, namespace: u16, name: &str) -> ObjectId {
        ops::from_name(&self.namespaces[usize::from(namespace)].key, name)
    }

    pub(in crate::engine::tests) fn live(&self, name: &str) -> Option<Activation> {
        self.objects.get(&(NamespaceIndex(0), self.id(0, name))).and_then(|kept| kept.live)
    }

    /// Events of the object that the host did not give it.
    pub(in crate::engine::tests) fn running_inside(&self, activation: Activation) -> u32 {
        self.inside.get(&activation).copied().unwrap_or(0)
    }

    pub(in crate::engine::tests) fn alarm(&self, name: &str) -> Option<i64> {
        self.objects.get(&(NamespaceIndex(0), self.id(0, name))).and_then(|kept| kept.alarm)
    }

    pub(super) fn event(
        &mut self,
        namespace: NamespaceIndex,
        id: ObjectId,
        name: Option<String>,
        kind: EventKind,
        caller: Caller,
    ) -> EventId {
        let event = EventId(self.next_event);
        self.next_event += 1;
        self.callers.insert(event, caller);
        let activation = self.open(namespace, id, name);
        self.send(ToEngine::Event { activation, event, kind });
        event
    }

    fn open(&mut self, namespace: NamespaceIndex, id: ObjectId, name: Option<String>) -> Activation {
        // The next life begins when what the last one committed has settled.
        let live = self.objects.get(&(namespace, id)).and_then(|kept| kept.live);
        let unsettled = |host: &Self| {
            host.commits.iter().any(|commit| host.activations.get(&commit.activation) == Some(&(namespace, id)))
        };
        while live.is_none() && unsettled(self) {
            self.sync_one();
        }
        let fresh = || Kept { file: Rc::default(), seq: Seq(0), alarm: None, live: None, sockets: Vec::new() };
        let kept = self.objects.entry((namespace, id)).or_insert_with(fresh);
        if let Some(activation) = kept.live {
            return activation;
        }
        let activation = Activation(self.next_activation);
        self.next_activation += 1;
        kept.live = Some(activation);
        self.world.files.borrow_mut().insert(activation, Rc::clone(&kept.file));
        self.activations.insert(activation, (namespace, id));
        self.durable.insert(activation, kept.seq);
        let pages = (kept.file.borrow().len() / PAGE_BYTES) as u32;
        let open = Open {
            activation,
            namespace,
            id,
            name,
            epoch: u64::from(activation.0),
            seq: kept.seq,
            pages,
            sockets: kept.sockets.clone(),
            auto_response: None,
        };
        self.send(ToEngine::Open(open));
        activation
    }

    pub(in crate::engine::tests) fn deliver(&mut self, name: &str, kind: EventKind) -> EventId {
        let id = self.id(0, name);
        self.event(NamespaceIndex(0), id, Some(name.to_owned()), kind, Caller::Test)
    }

    /// A request to the object of that name in the first namespace.
    pub(in crate::engine::tests) fn fetch(&mut self, name: &str, path: &str) -> EventId {
        self.deliver(name, EventKind::Fetch(request(path)))
    }

    /// A request to the entry worker.
    pub(in crate::engine::tests) fn enter(&mut self, path: &str) -> EventId {
        let event = EventId(self.next_event);
        self.next_event += 1;
        self.callers.insert(event, Caller::Test);
        self.send(ToEngine::Event { activation: Activation::ENTRY, event, kind: EventKind::Fetch(request(path)) });
        event
    }

    pub(in crate::engine::tests) fn text(&self, event: EventId) -> Option<String> {
        match self.outcomes.get(&event)? {
            Outcome::Response(response) => match &response.body {
                Body::Whole(body) => Some(String::from_utf8_lossy(body).into_owned()),
                Body::None => Some(String::new()),
                Body::Stream { stream, .. } => Some(format!("stream {}", stream.0)),
            },
            Outcome::Failed(problem) => Some(format!("failed: {problem}")),
            Outcome::Value(value) => Some(format!("{value:?}")),
            Outcome::Alarm(outcome) => Some(format!("{outcome:?}")),
            Outcome::Inspected(Ok(json)) => Some(json.clone()),
            Outcome::Inspected(Err(why)) => Some(format!("failed: {why}")),
        }
    }

    /// The answer to a request, once everything that can happen has happened.
    pub(in crate::engine::tests) fn get(&mut self, name: &str, path: &str) -> String {
        let event = self.fetch(name, path);
        self.text(event).unwrap_or_else(|| "no answer".to_owned())
    }

    pub(in crate::engine::tests) fn failure(&self, event: EventId) -> Problem {
        match self.outcomes.get(&event) {
            Some(Outcome::Failed(problem)) => problem.clone(),
            other => panic!("the event did not fail: {other:?}"),
        }
    }

    pub(in crate::engine::tests) fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.send(ToEngine::Tick { now_ms: self.now_ms });
    }

    pub(in crate::engine::tests) fn reply(&mut self, text: &str) {
        let (call, _) = self.internet.pop_front().expect("a request went out");
        let response = HttpResponse {
            status: 200,
            status_text: String::new(),
            headers: Headers::default(),
            body: Body::Whole(text.into()),
            socket: None,
            url: String::new(),
            redirected: false,
        };
        self.send(ToEngine::Reply { call, result: Ok(Answer::Http(response)) });
    }

    pub(in crate::engine::tests) fn hibernate(&mut self, name: &str) {
        let activation = self.live(name).expect("the object is live");
        self.send(ToEngine::Close { activation, why: wire::CloseReason::Hibernate });
    }

    pub(in crate::engine::tests) fn random_below(&self, below: u32) -> u32 {
        self.world.random.borrow_mut().random_range(0..below)
    }
}

pub(in crate::engine::tests) fn request(path: &str) -> HttpRequest {
    HttpRequest {
        method: "GET".into(),
        url: format!("http://test{path}"),
        headers: Headers::default(),
        body: Body::None,
        redirect: Redirect::Follow,
    }
}
