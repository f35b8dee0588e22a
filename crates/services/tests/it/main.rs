//! The operations and the reconciler on SQLite and PostgreSQL.

#![allow(clippy::wildcard_enum_match_arm, reason = "in a test, whatever else comes is a failure")]

mod audit;
mod deployments;
mod enrolment;
mod exchange;
mod groups;
mod idempotency;
mod lifecycle;
mod notebooks;
mod notebooks_idle;
mod notebooks_shares;
mod objects;
mod objects_briefs;
mod objects_console;
mod outcome;
mod people;
mod reservations;
mod sign_in;
mod team;
mod tokens;
