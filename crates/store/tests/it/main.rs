//! The store on SQLite and PostgreSQL.

mod claims;
mod migrations;
