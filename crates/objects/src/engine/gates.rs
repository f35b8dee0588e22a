//! The input gate: which of what has come for an object may be delivered now.
//!
//! Code that runs under `blockConcurrencyWhile` or `storage.transaction` is in a section. While there is one, only what
//! that section itself started is delivered; everything else waits, in order.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// Where a piece of work belongs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Section(Rc<Node>);

#[derive(Debug)]
struct Node {
    number: u32,
    depth: u32,
    parent: Option<Section>,
    over: Cell<bool>,
}

impl Section {
    pub(crate) fn number(&self) -> u32 {
        self.0.number
    }

    /// The nearest one that is not over: what a section left running goes on in the one around it.
    fn living(&self) -> Section {
        let mut at = self;
        while at.0.over.get() {
            match &at.0.parent {
                Some(parent) => at = parent,
                None => break,
            }
        }
        at.clone()
    }
}

impl PartialEq for Section {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Section {}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("blockConcurrencyWhile() is nested more than {0} deep")]
pub(crate) struct TooDeep(u32);

/// The gate of one object, and what waits at it.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    root: Section,
    /// Those that run, the innermost last; the root is not among them.
    active: Vec<Section>,
    /// Those that wait for the section in which they were asked for to be the innermost.
    asked: VecDeque<Section>,
    /// What waits, by the number of its section.
    queues: HashMap<u32, VecDeque<T>>,
    waiting: usize,
    next: u32,
    most_deep: u32,
}

impl<T> Gate<T> {
    pub(crate) fn new(most_deep: u32) -> Self {
        let root = Section(Rc::new(Node { number: 0, depth: 0, parent: None, over: Cell::new(false) }));
        Self {
            root,
            active: Vec::new(),
            asked: VecDeque::new(),
            queues: HashMap::from([(0, VecDeque::new())]),
            waiting: 0,
            next: 1,
            most_deep,
        }
    }

    pub(crate) fn root(&self) -> Section {
        self.root.clone()
    }

    fn innermost(&self) -> &Section {
        self.active.last().unwrap_or(&self.root)
    }

    /// How many deliveries wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.active.is_empty() && self.asked.is_empty()
    }

    pub(crate) fn push(&mut self, section: &Section, delivery: T) {
        let number = section.living().0.number;
        self.queues.entry(number).or_default().push_back(delivery);
        self.waiting += 1;
    }

    /// A section within `within`; it begins when [`Gate::begin`] says so.
    pub(crate) fn ask(&mut self, within: &Section) -> Result<Section, TooDeep> {
        let parent = within.living();
        let depth = parent.0.depth + 1;
        if depth > self.most_deep {
            return Err(TooDeep(self.most_deep));
        }
        let number = self.next;
        self.next += 1;
        let section = Section(Rc::new(Node { number, depth, parent: Some(parent), over: Cell::new(false) }));
        self.asked.push_back(section.clone());
        Ok(section)
    }

    /// The section that begins now, if one does.
    pub(crate) fn begin(&mut self) -> Option<Section> {
        let innermost = self.innermost();
        let may = |section: &Section| section.0.parent.as_ref().is_some_and(|parent| parent.living() == *innermost);
        let at = self.asked.iter().position(may)?;
        let section = self.asked.remove(at)?;
        self.active.push(section.clone());
        Some(section)
    }

    /// The next delivery that the gate lets through, with its section.
    pub(crate) fn pass(&mut self) -> Option<(Section, T)> {
        let section = self.innermost().clone();
        let delivery = self.queues.get_mut(&section.0.number)?.pop_front()?;
        self.waiting -= 1;
        Some((section, delivery))
    }

    /// All that waits, which nothing will be let through for any more.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.waiting = 0;
        std::mem::take(&mut self.queues).into_values().flatten()
    }

    /// The section is over, and those within it.
    pub(crate) fn end(&mut self, section: &Section) {
        let Some(at) = self.active.iter().position(|active| active == section) else { return };
        for over in self.active.drain(at..).rev().collect::<Vec<_>>() {
            over.0.over.set(true);
            let left = self.queues.remove(&over.0.number).unwrap_or_default();
            if !left.is_empty() {
                let heir = over.living().0.number;
                self.queues.entry(heir).or_default().extend(left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(gate: &mut Gate<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| gate.pass()).map(|(_, delivery)| delivery).collect()
    }

    #[test]
    fn what_is_outside_waits_until_the_section_is_over() {
        let mut gate = Gate::new(64);
        let root = gate.root();
        let section = gate.ask(&root).unwrap();
        gate.push(&root, "before it began");
        assert_eq!(gate.pass().map(|(_, delivery)| delivery), Some("before it began"));
        assert_eq!(gate.begin(), Some(section.clone()));
        gate.push(&root, "event");
        gate.push(&section, "its own");
        assert_eq!(passed(&mut gate), ["its own"]);
        assert_eq!(gate.waiting(), 1);
        gate.end(&section);
        assert_eq!(passed(&mut gate), ["event"]);
        assert!(gate.is_idle());
    }

    #[test]
    fn two_asked_for_at_once_run_one_after_the_other() {
        let mut gate = Gate::<()>::new(64);
        let root = gate.root();
        let (first, second) = (gate.ask(&root).unwrap(), gate.ask(&root).unwrap());
        assert_eq!(gate.begin(), Some(first.clone()));
        assert_eq!(gate.begin(), None);
        let inner = gate.ask(&first).unwrap();
        assert_eq!(gate.begin(), Some(inner.clone()));
        gate.end(&inner);
        assert_eq!(gate.begin(), None);
        gate.end(&first);
        assert_eq!(gate.begin(), Some(second));
    }

    #[test]
    fn what_a_section_left_running_goes_on_outside_in_order() {
        let mut gate = Gate::new(64);
        let root = gate.root();
        let section = gate.ask(&root).unwrap();
        gate.begin().unwrap();
        gate.push(&root, "event");
        gate.push(&section, "left");
        gate.end(&section);
        gate.push(&section, "late");
        assert_eq!(passed(&mut gate), ["event", "left", "late"]);
    }

    #[test]
    fn depth_has_a_limit() {
        let mut gate = Gate::<()>::new(2);
        let mut section = gate.root();
        for _ in 0..2 {
            section = gate.ask(&section).unwrap();
            gate.begin().unwrap();
        }
        assert_eq!(gate.ask(&section), Err(TooDeep(2)));
    }
}
