//! The store on SQLite and PostgreSQL.

mod claims;
mod events;
mod migrations;
mod names;
mod plans;
mod slots;
