//! The operations and the reconciler on SQLite and PostgreSQL.

mod lifecycle;
mod reservations;
