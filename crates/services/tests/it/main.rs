//! The operations and the reconciler on SQLite and PostgreSQL.

mod enrolment;
mod exchange;
mod idempotency;
mod lifecycle;
mod people;
mod reservations;
mod sign_in;
mod tokens;
