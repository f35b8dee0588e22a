//! A database as pages: those read from the host, those written since, and what a commit changed.

use crate::meter::{Meter, Taken};
use crate::wire::{Delta, PAGE_BYTES, Seq};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Unchanged bytes between two changed runs of a page that are cheaper to send than a second delta.
const GAP_BYTES: usize = 24;

/// Pages asked for at once where a miss follows the page before.
const READ_AHEAD: u32 = 8;

#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error("the host did not give pages {first} to {last}")]
    Unavailable { first: u32, last: u32 },
    #[error("the object has no memory left for a page")]
    Memory,
}

/// Where pages come from that are not in memory: what has been applied to the database's file.
pub(crate) trait PageSource {
    /// `count` whole pages from `first` on; pages never written are zeroes.
    fn read(&self, first: u32, count: u32) -> Result<Vec<u8>, PageError>;
}

/// A page that its object's memory has room for.
struct Page {
    bytes: Box<[u8; PAGE_BYTES]>,
    _taken: Taken,
}

impl Page {
    fn of(bytes: &[u8; PAGE_BYTES], memory: &Arc<Meter>) -> Option<Self> {
        let mut taken = Taken::none(memory);
        taken.more(PAGE_BYTES).then(|| Page { bytes: Box::new(*bytes), _taken: taken })
    }
}

struct Image {
    page: Page,
    /// The last commit that changed it: until that is durable the host's file may not have it.
    seq: Seq,
}

pub(crate) struct PageLimits {
    /// Pages kept that the host has as well.
    pub cached: usize,
    /// Pages that one transaction may change.
    pub dirty: usize,
}

/// One database.
pub(crate) struct Pages {
    source: Box<dyn PageSource>,
    limits: PageLimits,
    memory: Arc<Meter>,
    images: HashMap<u32, Image>,
    /// Pages written since the last commit, with what they were.
    dirty: BTreeMap<u32, Before>,
    /// Size now, and at the last commit.
    count: u32,
    committed_count: u32,
    /// The last commit taken.
    taken: Seq,
    durable: Seq,
    last_read: u32,
}

/// What a page was at the last commit.
enum Before {
    Was(Page),
    /// It is new.
    Zeroes,
    Unknown,
}

impl Before {
    fn bytes(&self) -> Option<&[u8; PAGE_BYTES]> {
        const ZEROES: &[u8; PAGE_BYTES] = &[0; PAGE_BYTES];
        match self {
            Before::Was(page) => Some(&page.bytes),
            Before::Zeroes => Some(ZEROES),
            Before::Unknown => None,
        }
    }
}

/// Why a page cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// The transaction has as many as it may change.
    Transaction,
    Memory,
}

/// Page `count` changed so.
pub(crate) struct Change {
    pub pages: u32,
    pub deltas: Vec<Delta>,
}

impl Pages {
    pub(crate) fn new(
        source: Box<dyn PageSource>,
        count: u32,
        seq: Seq,
        limits: PageLimits,
        memory: &Arc<Meter>,
    ) -> Self {
        Self {
            source,
            limits,
            memory: Arc::clone(memory),
            images: HashMap::new(),
            dirty: BTreeMap::new(),
            count,
            committed_count: count,
            taken: seq,
            durable: seq,
            last_read: 0,
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Copies a part of one page; zeroes beyond the end. Returns whether all of it was within the database.
    pub(crate) fn read(&mut self, page: u32, offset: usize, out: &mut [u8]) -> Result<bool, PageError> {
        if page > self.count {
            out.fill(0);
            return Ok(false);
        }
        if !self.images.contains_key(&page) {
            self.fetch(page)?;
        }
        match self.images.get(&page).and_then(|image| image.page.bytes.get(offset..offset + out.len())) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Ok(true)
            }
            None => Err(PageError::Unavailable { first: page, last: page }),
        }
    }

    fn fetch(&mut self, page: u32) -> Result<(), PageError> {
        let ahead = if page == self.last_read + 1 { READ_AHEAD } else { 1 };
        let mut count = 1;
        while count < ahead && page + count <= self.count && !self.images.contains_key(&(page + count)) {
            count += 1;
        }
        self.make_room(count as usize);
        let unavailable = PageError::Unavailable { first: page, last: page + count - 1 };
        let bytes = self.source.read(page, count)?;
        let (whole, rest) = bytes.as_chunks::<PAGE_BYTES>();
        if whole.len() != count as usize || !rest.is_empty() {
            return Err(unavailable);
        }
        for (number, bytes) in (page..).zip(whole) {
            let page = Page::of(bytes, &self.memory).ok_or(PageError::Memory)?;
            self.images.insert(number, Image { page, seq: self.durable });
        }
        self.last_read = page + count - 1;
        Ok(())
    }

    /// Drops pages that the host has, until there is room for so many.
    fn make_room(&mut self, wanted: usize) {
        if self.images.len() + wanted <= self.limits.cached {
            return;
        }
        let surplus = self.images.len() + wanted - self.limits.cached;
        // The first page has the change counter, which every commit needs.
        let victims: Vec<u32> = self
            .images
            .iter()
            .filter(|(page, image)| **page != 1 && image.seq <= self.durable && !self.dirty.contains_key(page))
            .map(|(page, _)| *page)
            .take(surplus)
            .collect();
        for page in victims {
            self.images.remove(&page);
        }
    }

    /// Whether the page was taken.
    pub(crate) fn write(&mut self, page: u32, bytes: &[u8; PAGE_BYTES]) -> Result<(), WriteError> {
        if !self.dirty.contains_key(&page) {
            if self.dirty.len() >= self.limits.dirty {
                return Err(WriteError::Transaction);
            }
            self.make_room(1);
            let before = match self.images.get(&page) {
                Some(image) => Before::Was(Page::of(&image.page.bytes, &self.memory).ok_or(WriteError::Memory)?),
                None if page > self.committed_count => Before::Zeroes,
                None => Before::Unknown,
            };
            self.dirty.insert(page, before);
        }
        match self.images.get_mut(&page) {
            Some(image) => image.page.bytes.copy_from_slice(bytes),
            None => {
                let image = Page::of(bytes, &self.memory).ok_or(WriteError::Memory)?;
                self.images.insert(page, Image { page: image, seq: self.durable });
            }
        }
        self.count = self.count.max(page);
        Ok(())
    }

    pub(crate) fn truncate(&mut self, count: u32) {
        self.count = count;
    }

    /// What was written since the last commit, `None` if nothing changed. It is the commit `seq` from now on.
    pub(crate) fn take_change(&mut self, seq: Seq) -> Option<Change> {
        let dirty = std::mem::take(&mut self.dirty);
        let mut deltas = Vec::with_capacity(dirty.len());
        for (page, before) in dirty {
            if page > self.count {
                continue;
            }
            let Some(image) = self.images.get_mut(&page) else { continue };
            let had = deltas.len();
            differences(page, before.bytes(), &image.page.bytes, &mut deltas);
            if deltas.len() > had {
                image.seq = seq;
            }
        }
        if self.count < self.committed_count {
            let count = self.count;
            self.images.retain(|page, _| *page <= count);
        }
        let changed = !deltas.is_empty() || self.count != self.committed_count;
        self.committed_count = self.count;
        if changed {
            self.taken = seq;
        }
        changed.then_some(Change { pages: self.count, deltas })
    }

    /// Everything written since the last commit is as it was.
    pub(crate) fn discard(&mut self) {
        for (page, before) in std::mem::take(&mut self.dirty) {
            match (before, self.images.get_mut(&page)) {
                (Before::Was(before), Some(image)) if page <= self.committed_count => image.page = before,
                (Before::Was(_) | Before::Zeroes | Before::Unknown, Some(_) | None) => {
                    self.images.remove(&page);
                }
            }
        }
        self.count = self.committed_count;
    }

    pub(crate) fn durable(&mut self, seq: Seq) {
        self.durable = self.durable.max(seq.min(self.taken));
    }

    /// Keeps in memory only what the host does not have yet.
    pub(crate) fn rest(&mut self) {
        let durable = self.durable;
        let dirty = &self.dirty;
        self.images.retain(|page, image| image.seq > durable || dirty.contains_key(page));
        self.images.shrink_to_fit();
    }

    /// Whether the host has all of it.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.images.is_empty() && self.dirty.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.images.len()
    }
}

fn differences(page: u32, before: Option<&[u8; PAGE_BYTES]>, after: &[u8; PAGE_BYTES], out: &mut Vec<Delta>) {
    let Some(before) = before else {
        out.push(Delta { page, offset: 0, bytes: after.to_vec() });
        return;
    };
    let mut at = 0;
    while let Some(start) = first_difference(before, after, at) {
        let mut end = start + 1;
        // The run goes on as long as the next difference is near.
        while let Some(next) = first_difference(before, after, end) {
            if next - end > GAP_BYTES {
                break;
            }
            end = next + 1;
        }
        // A page has 4096 bytes, so its offsets fit.
        out.push(Delta { page, offset: start as u16, bytes: after[start..end].to_vec() });
        at = end;
    }
}

fn first_difference(before: &[u8; PAGE_BYTES], after: &[u8; PAGE_BYTES], from: usize) -> Option<usize> {
    const STEP: usize = 32;
    let mut at = from;
    while at < PAGE_BYTES {
        let end = (at + STEP).min(PAGE_BYTES);
        if before[at..end] != after[at..end] {
            return (at..end).find(|at| before[*at] != after[*at]);
        }
        at = end;
    }
    None
}
