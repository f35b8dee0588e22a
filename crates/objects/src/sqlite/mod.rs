//! SQLite inside the engine, on pages that the host keeps.
//!
//! [`pages`] is the database as pages in memory and what a commit changed in them, [`vfs`] lends it to SQLite,
//! [`connection`] is the part of SQLite's interface that is used, with a safe face. [`database`] has transactions and
//! what leaves as commits; [`kv`] and [`cursor`] are what users see of it.

mod authorizer;
pub(crate) mod connection;
pub(crate) mod cursor;
pub(crate) mod database;
pub(crate) mod kv;
mod memory;
pub(crate) mod pages;
mod vfs;

pub(crate) use connection::SqlError;
pub(crate) use database::Database;
pub use pages::PageError;
pub(crate) use vfs::set_now;

#[cfg(test)]
mod tests;
