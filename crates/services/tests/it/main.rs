//! The operations and the reconciler on SQLite and PostgreSQL.

mod idempotency;
mod lifecycle;
mod people;
mod reservations;
mod sign_in;
mod tokens;
