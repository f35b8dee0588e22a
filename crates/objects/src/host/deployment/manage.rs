//! What whoever runs a deployment asks of it: which objects it has and what they are at, and the end of one, or of all.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Instant,
};

use tokio::sync::oneshot;

use super::{
    Deployment,
    effects::{Context, Effect},
    state::{Phase, Placed, State},
};
use crate::{
    host::{
        deployment::deliver::DEATHS_TO_QUARANTINE,
        elsewhere::Place,
        log::{AtRest, Commit, CommitError, ObjectKey, OpenFileError, Page, Settled, Submitter},
    },
    wire::{Activation, CloseReason, Problem},
};

/// An object that is in memory, or has stored something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectDetail {
    pub key: ObjectKey,
    pub class: String,
    pub name: Option<String>,
    pub is_live: bool,
    /// Of its database.
    pub bytes: u64,
    /// Unix milliseconds.
    pub last_used_ms: Option<i64>,
    pub alarm_at_ms: Option<i64>,
    pub sockets: usize,
    /// Events that it is at.
    pub running: usize,
    /// It ended its engine too often and is not run any more.
    pub is_quarantined: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum DeleteObjectError {
    #[error("the deployment has no such class")]
    NoSuchClass,
    #[error("the object is not on this host")]
    Elsewhere,
    #[error("the object's file cannot be opened: {0}")]
    Open(#[from] OpenFileError),
    #[error("its end cannot be written to the disk: {0}")]
    Commit(#[from] CommitError),
    #[error("the host ended meanwhile")]
    Ended,
}

/// Whoever waits for an object's end.
pub type Deletion = oneshot::Sender<Result<(), Arc<DeleteObjectError>>>;

/// What memory knows of an object.
#[derive(Debug, Clone, Default)]
struct Known {
    is_live: bool,
    name: Option<String>,
    last_used: Option<Instant>,
    sockets: usize,
    running: usize,
}

impl Deployment {
    /// The object, if it is in memory or has stored something.
    pub fn object(&self, key: ObjectKey) -> Result<Option<ObjectDetail>, OpenFileError> {
        let Some(class) = self.class_of(&key.namespace) else { return Ok(None) };
        let known = self.state.lock().known(&key.namespace, Some(&key)).remove(&key);
        let after = Page { after: before(key.id), prefix: hex::encode(key.id), limit: 1 };
        let stored = self.log.at_rest(key.namespace, &after)?.into_iter().next();
        if known.as_ref().is_none_or(|known| !known.is_live) && stored.is_none() {
            return Ok(None);
        }
        Ok(Some(self.detail(key, class, known.unwrap_or_default(), stored)))
    }

    /// Objects of a class that are in memory or have stored something, in the order of their ids.
    pub fn list(&self, namespace: [u8; 16], page: &Page) -> io::Result<Vec<ObjectDetail>> {
        let mut found = BTreeMap::new();
        for stored in self.log.at_rest(namespace, page)? {
            found.insert(stored.key, Some(stored));
        }
        self.details(namespace, page, found)
    }

    /// Those of them that are in memory.
    pub fn list_live(&self, namespace: [u8; 16], page: &Page) -> Result<Vec<ObjectDetail>, OpenFileError> {
        let mut live: Vec<ObjectKey> = self.live(namespace, page);
        live.truncate(page.limit);
        let mut found = Vec::new();
        for key in live {
            // It may have gone to sleep without having stored anything.
            found.extend(self.object(key)?);
        }
        Ok(found)
    }

    /// In order.
    fn live(&self, namespace: [u8; 16], page: &Page) -> Vec<ObjectKey> {
        let state = self.state.lock();
        let live = state.objects.iter().filter(|(key, placed)| {
            key.namespace == namespace && matches!(placed, Placed::Live { .. }) && page.wants(&key.id)
        });
        let mut live: Vec<ObjectKey> = live.map(|(key, _)| *key).collect();
        live.sort_unstable();
        live
    }

    fn details(
        &self,
        namespace: [u8; 16],
        page: &Page,
        mut found: BTreeMap<ObjectKey, Option<AtRest>>,
    ) -> io::Result<Vec<ObjectDetail>> {
        let Some(class) = self.class_of(&namespace) else { return Ok(Vec::new()) };
        for key in self.live(namespace, page) {
            found.entry(key).or_insert(None);
        }
        let mut known = self.state.lock().known(&namespace, None);
        let wanted = found.into_iter().take(page.limit);
        Ok(wanted
            .map(|(key, stored)| self.detail(key, class.clone(), known.remove(&key).unwrap_or_default(), stored))
            .collect())
    }

    fn detail(&self, key: ObjectKey, class: String, known: Known, stored: Option<AtRest>) -> ObjectDetail {
        let used_ms = known.last_used.map(|used| {
            let ago_ms = i64::try_from(used.elapsed().as_millis()).unwrap_or(i64::MAX);
            self.options.now_ms().saturating_sub(ago_ms)
        });
        let (name, bytes, alarm_at_ms, written_ms) = match stored {
            Some(stored) => (stored.name, stored.bytes, stored.alarm_at_ms, stored.written_ms),
            None => (None, 0, None, None),
        };
        ObjectDetail {
            key,
            class,
            name: known.name.or(name),
            is_live: known.is_live,
            bytes,
            last_used_ms: used_ms.or(written_ms),
            alarm_at_ms,
            sockets: known.sockets,
            running: known.running,
            is_quarantined: self.state.lock().deaths.get(&key).is_some_and(|deaths| *deaths >= DEATHS_TO_QUARANTINE),
        }
    }

    fn class_of(&self, namespace: &[u8; 16]) -> Option<String> {
        let state = self.state.lock();
        let found = state.version.namespaces.iter().find(|known| known.uid == *namespace)?;
        Some(found.class.clone())
    }

    /// Objects that are in memory.
    pub fn live_objects(&self) -> usize {
        self.state.lock().objects.values().filter(|placed| matches!(placed, Placed::Live { .. })).count()
    }

    /// The version that runs, and why its modules do not load if they do not.
    pub fn version(&self) -> (u64, Option<Problem>) {
        let state = self.state.lock();
        (state.version.number, state.unloadable.clone())
    }

    /// Memory that the engines have together.
    pub fn engines_memory_bytes(&self) -> u64 {
        self.engines().into_iter().filter_map(memory_bytes).sum()
    }

    /// Ends the object's life with its sockets, and deletes what it stored and its alarm. Whoever calls it then finds a new
    /// one.
    pub async fn delete_object(self: &Arc<Self>, key: ObjectKey) -> Result<(), Arc<DeleteObjectError>> {
        let (sender, receiver) = oneshot::channel();
        self.with(|state, context| state.delete_object(key, sender, context));
        receiver.await.unwrap_or_else(|_gone| Err(Arc::new(DeleteObjectError::Ended)))
    }

    /// Writes the object's end to the log.
    pub(super) fn remove(self: &Arc<Self>, key: ObjectKey, least_epoch: u64) {
        let begun = self.log.object(key).and_then(|file| file.begin_epoch(least_epoch));
        match begun {
            Ok((_, header)) if header.seq == 0 => self.with(|state, context| state.deleted(key, Ok(()), context)),
            Ok((epoch, header)) => {
                let removal = Commit::removal(key, epoch, header.seq + 1);
                self.log.submit(removal, Arc::new(Removal(Arc::clone(self))), 0);
            }
            Err(error) => self.with(|state, context| state.deleted(key, Err(error.into()), context)),
        }
    }

    /// Nothing of it runs here any more: who calls gets `why`.
    pub(in crate::host) fn end(self: &Arc<Self>, why: Problem) {
        self.with(|state, context| {
            state.unloadable = Some(why);
            state.close_links();
            let processes: Vec<u32> = state.processes.keys().copied().collect();
            for process in processes {
                state.kill(process, context);
            }
        });
    }

    /// Objects that live here and are not at home here any more end; their callers find them elsewhere.
    pub(in crate::host) fn check_places(self: &Arc<Self>) {
        self.with(|state, context| state.check_places(context));
    }
}

struct Removal(Arc<Deployment>);

impl Submitter for Removal {
    fn settled(&self, settled: Vec<Settled>) {
        self.0.with(|state, context| {
            for settled in settled {
                state.deleted(settled.key, settled.result.map_err(DeleteObjectError::from), context);
            }
        });
    }
}

impl State {
    /// What memory knows of the objects of a namespace, or of one of them.
    fn known(&self, namespace: &[u8; 16], only: Option<&ObjectKey>) -> HashMap<ObjectKey, Known> {
        let wanted = |key: &ObjectKey| only.map_or(key.namespace == *namespace, |only| key == only);
        let mut known: HashMap<ObjectKey, Known> = HashMap::new();
        for (key, placed) in self.objects.iter().filter(|(key, _)| wanted(key)) {
            let Placed::Live { process, activation } = placed else { continue };
            let activation = self.processes.get(process).and_then(|process| process.activations.get(activation));
            let Some(activation) = activation else { continue };
            let entry = known.entry(*key).or_default();
            entry.is_live = true;
            entry.name = activation.object.as_ref().and_then(|object| object.name.clone());
            entry.last_used = Some(activation.last_used);
            entry.running = activation.running + activation.inside;
        }
        for owner in self.sockets.values().filter_map(super::sockets::Socket::owner).filter(wanted) {
            known.entry(owner).or_default().sockets += 1;
        }
        known
    }

    fn delete_object(&mut self, key: ObjectKey, waiter: Deletion, context: &mut Context<'_>) {
        let here = matches!(context.place(&key), Place::Here { .. });
        let known = self.version.namespaces.iter().any(|namespace| namespace.uid == key.namespace);
        if !known || !here {
            let error = if known { DeleteObjectError::Elsewhere } else { DeleteObjectError::NoSuchClass };
            // Whoever asked may have gone.
            return drop(waiter.send(Err(Arc::new(error))));
        }
        let waiters = self.deletions.entry(key).or_default();
        waiters.push(waiter);
        if waiters.len() > 1 {
            return;
        }
        let problem = deleted();
        self.drop_sockets(key, &problem, context);
        self.auto_responses.remove(&key);
        self.deaths.remove(&key);
        match self.objects.get(&key) {
            Some(Placed::Live { process, activation }) => {
                let (process, activation) = (*process, *activation);
                self.close(process, activation, CloseReason::Abort(problem));
            }
            // Goes on when its life is over.
            Some(Placed::Leaving { .. }) => {}
            None => {
                self.objects.insert(key, Placed::Leaving { waiting: Default::default() });
                self.delete_now(key, context);
            }
        }
    }

    /// The object's life is over. Whether it is to be deleted before the next one.
    pub fn delete_now(&mut self, key: ObjectKey, context: &mut Context<'_>) -> bool {
        let wanted = self.deletions.contains_key(&key);
        if wanted {
            let least_epoch = match context.place(&key) {
                Place::Here { least_epoch } => least_epoch,
                // Has moved since: what is left here is of nobody.
                Place::At(_) | Place::Nowhere(_) => 0,
            };
            context.effects.push(Effect::Remove { key, least_epoch });
        }
        wanted
    }

    fn deleted(&mut self, key: ObjectKey, result: Result<(), DeleteObjectError>, context: &mut Context<'_>) {
        let result = result.map_err(Arc::new);
        for waiter in self.deletions.remove(&key).unwrap_or_default() {
            // Whoever asked may have gone.
            drop(waiter.send(result.clone()));
        }
        if let Some(Placed::Leaving { waiting }) = self.objects.remove(&key) {
            self.deliver_waiting(key, waiting, context);
        }
    }

    fn check_places(&mut self, context: &mut Context<'_>) {
        let mut strangers: Vec<(u32, Activation)> = Vec::new();
        for (number, process) in &self.processes {
            for (activation, state) in &process.activations {
                let Some(object) = state.object.as_ref().filter(|_| state.phase == Phase::Live) else { continue };
                let at_home = match context.place(&object.key) {
                    Place::Here { least_epoch } => object.epoch >= least_epoch,
                    Place::At(_) | Place::Nowhere(_) => false,
                };
                if !at_home {
                    strangers.push((*number, *activation));
                }
            }
        }
        for (process, activation) in strangers {
            self.send_away(process, activation, context);
        }
    }

    /// The object moved while its engine was closing it, which then went on with it.
    pub fn stays_or_goes(&mut self, key: ObjectKey, process: u32, activation: Activation, context: &mut Context<'_>) {
        if self.deletions.contains_key(&key) {
            return self.close(process, activation, CloseReason::Abort(deleted()));
        }
        let epoch = self.activation(process, activation).and_then(|state| Some(state.object.as_ref()?.epoch));
        let at_home = match context.place(&key) {
            Place::Here { least_epoch } => epoch.is_some_and(|epoch| epoch >= least_epoch),
            Place::At(_) | Place::Nowhere(_) => false,
        };
        if !at_home {
            self.send_away(process, activation, context);
        }
    }

    fn send_away(&mut self, process: u32, activation: Activation, context: &mut Context<'_>) {
        let problem = Problem { retryable: true, ..Problem::reset("Durable Object moved to another host.") };
        if let Some(key) = self.activation(process, activation).and_then(|state| Some(state.object.as_ref()?.key)) {
            self.drop_sockets(key, &problem, context);
        }
        self.close(process, activation, CloseReason::Abort(problem));
    }
}

fn deleted() -> Problem {
    Problem::reset("Durable Object was deleted.")
}

/// The id before this one.
fn before(mut id: [u8; 32]) -> Option<[u8; 32]> {
    for byte in id.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            return Some(id);
        }
    }
    None
}

fn memory_bytes(pid: u32) -> Option<u64> {
    // An engine that has just ended has none.
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
