//! An object's storage as its turns see it: opened when first used, and who must wait for what it wrote.

use super::handles::Gone;
use super::surroundings::{PageError, Surroundings};
use crate::meter::Meter;
use crate::sqlite::SqlError;
use crate::sqlite::cursor::Cursor;
use crate::sqlite::database::{Committed, Database, Ending, Within};
use crate::sqlite::pages::PageSource;
use crate::wire::{Activation, Limits, Seq};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Cursors that code holds at once without having read them to their end.
const MOST_CURSORS: usize = 1_000;

/// Whether what an object says must wait for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Confirmation {
    /// `allowUnconfirmed`
    Unneeded,
    Needed,
}

struct Source {
    surroundings: Rc<dyn Surroundings>,
    activation: Activation,
}

impl PageSource for Source {
    fn read(&self, first: u32, count: u32) -> Result<Vec<u8>, PageError> {
        self.surroundings.read_pages(self.activation, first, count)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error("the entry worker has no storage")]
    None,
    #[error("more than {MOST_CURSORS} cursors are open")]
    Cursors,
}

/// How to open the database.
pub(crate) struct Opening {
    pub surroundings: Rc<dyn Surroundings>,
    pub activation: Activation,
    pub limits: Rc<Limits>,
    /// Of the object whose database it is.
    pub memory: Arc<Meter>,
    pub pages: u32,
    pub over: Rc<dyn Fn() -> bool>,
}

pub(crate) struct Storage {
    /// `None` for the entry worker.
    opening: Option<Opening>,
    database: Option<Database>,
    /// Those that have rows to give.
    cursors: HashMap<u64, Cursor>,
    last_cursor: u64,
    /// Those that code holds no more.
    dropped: Gone,
    /// The last commit.
    seq: Seq,
    /// The last commit that what the object says must wait for.
    confirmed: Seq,
    durable: Seq,
    /// Of what this turn wrote.
    written: Option<Confirmation>,
    /// Of what the open `storage.transaction` wrote.
    written_explicit: Option<Confirmation>,
}

impl Storage {
    pub(crate) fn new(opening: Option<Opening>, seq: Seq) -> Self {
        Self {
            opening,
            database: None,
            cursors: HashMap::new(),
            last_cursor: 0,
            dropped: Gone::default(),
            seq,
            confirmed: seq,
            durable: seq,
            written: None,
            written_explicit: None,
        }
    }

    pub(crate) fn database(&mut self) -> Result<&mut Database, StorageError> {
        let opening = self.opening.as_ref().ok_or(StorageError::None)?;
        match &mut self.database {
            Some(database) => Ok(database),
            closed @ None => {
                let source = Source { surroundings: Rc::clone(&opening.surroundings), activation: opening.activation };
                let over = Rc::clone(&opening.over);
                let state = (opening.pages, self.seq);
                let within = Within { limits: &opening.limits, memory: &opening.memory };
                let database = Database::open(Box::new(source), state, within, Box::new(move || over()))?;
                Ok(closed.insert(database))
            }
        }
    }

    pub(crate) fn has_database(&self) -> bool {
        self.opening.is_some()
    }

    /// Something was written, and how much others wait for it.
    pub(crate) fn wrote(&mut self, confirmation: Confirmation) {
        let explicit = self.database.as_ref().is_some_and(Database::in_explicit);
        let written = if explicit { &mut self.written_explicit } else { &mut self.written };
        *written = (*written).max(Some(confirmation));
    }

    /// What is said now may leave when this commit is durable.
    pub(crate) fn after(&self) -> Seq {
        match self.written {
            Some(Confirmation::Needed) => Seq(self.seq.0 + 1),
            Some(Confirmation::Unneeded) | None => self.confirmed,
        }
    }

    /// The commit that has all that was written, also what nobody need wait for.
    pub(crate) fn written(&self) -> Seq {
        match self.written {
            Some(Confirmation::Needed | Confirmation::Unneeded) => Seq(self.seq.0 + 1),
            None => self.seq,
        }
    }

    /// The last commit that counts, as if the turn's writes had not been.
    pub(crate) fn confirmed(&self) -> Seq {
        self.confirmed
    }

    pub(crate) fn is_durable(&self, seq: Seq) -> bool {
        seq <= self.durable
    }

    pub(crate) fn durable(&mut self, seq: Seq) {
        self.durable = self.durable.max(seq);
        if let Some(database) = &self.database {
            database.durable(seq);
        }
    }

    /// Nothing from `seq` on will be durable.
    pub(crate) fn failed(&mut self, seq: Seq) {
        self.confirmed = self.confirmed.min(Seq(seq.0.saturating_sub(1)));
    }

    fn note(&mut self, committed: &Committed, written: Option<Confirmation>) {
        self.seq = committed.seq;
        if written != Some(Confirmation::Unneeded) {
            self.confirmed = committed.seq;
        }
    }

    /// The turn is over: what it wrote, if it wrote.
    pub(crate) fn end_turn(&mut self) -> Result<Option<Committed>, SqlError> {
        let written = self.written.take();
        let Some(database) = &mut self.database else { return Ok(None) };
        let committed = database.end_turn()?;
        if let Some(committed) = &committed {
            self.note(committed, written);
        }
        Ok(committed)
    }

    pub(crate) fn begin_transaction(&mut self) -> Result<(), StorageError> {
        Ok(self.database()?.begin_explicit()?)
    }

    /// What the outermost transaction wrote leaves at once.
    pub(crate) fn end_transaction(&mut self, ending: Ending) -> Result<Option<Committed>, StorageError> {
        let committed = self.database()?.end_explicit(ending)?;
        if !self.database()?.in_explicit() {
            let written = self.written_explicit.take();
            if let Some(committed) = &committed {
                self.note(committed, written);
            }
        }
        Ok(committed)
    }

    /// Of each that is kept, code has a handle which says when it is no more.
    pub(crate) fn dropped(&self) -> &Gone {
        &self.dropped
    }

    /// Closes those that code holds no more.
    pub(crate) fn close_dropped(&mut self) {
        for number in self.dropped.take() {
            self.drop_cursor(number);
        }
    }

    pub(crate) fn keep_cursor(&mut self, cursor: Cursor) -> Result<u64, StorageError> {
        if self.cursors.len() >= MOST_CURSORS {
            return Err(StorageError::Cursors);
        }
        self.last_cursor += 1;
        self.cursors.insert(self.last_cursor, cursor);
        Ok(self.last_cursor)
    }

    pub(crate) fn cursor(&mut self, number: u64) -> Option<&mut Cursor> {
        self.cursors.get_mut(&number)
    }

    /// The cursor's database with it.
    pub(crate) fn with_cursor(&mut self, number: u64) -> Option<(&mut Database, &mut Cursor)> {
        Some((self.database.as_mut()?, self.cursors.get_mut(&number)?))
    }

    pub(crate) fn drop_cursor(&mut self, number: u64) {
        if let (Some(mut cursor), Some(database)) = (self.cursors.remove(&number), &mut self.database) {
            database.close_cursor(&mut cursor);
        }
    }

    /// Cursors that stand on rows keep their tables from being dropped.
    pub(crate) fn drop_cursors(&mut self) {
        for (_, mut cursor) in self.cursors.drain() {
            if let Some(database) = &mut self.database {
                database.close_cursor(&mut cursor);
            }
        }
    }

    /// Gives back the memory that an idle object can do without: all that SQLite has, where it is as good as new.
    pub(crate) fn rest(&mut self) {
        self.close_dropped();
        let (Some(database), Some(opening)) = (&mut self.database, &mut self.opening) else { return };
        database.rest();
        if let Some(pages) = database.may_close().filter(|_| self.cursors.is_empty()) {
            opening.pages = pages;
            self.database = None;
        }
    }
}
