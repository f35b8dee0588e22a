//! The schema, step by step, up and down, on SQLite and PostgreSQL.
//!
//! Plain SQL with a few words that differ between the two ([`dialect`]): what the database itself has to guarantee
//! (no overlap, unique names, one use) is easier to trust when it is read as the database reads it.
//! Times are `_ms` columns: milliseconds since 1970 in UTC. Ids are UUIDs (16-byte blobs on SQLite).

#![allow(
    elided_lifetimes_in_paths,
    reason = "the migration trait late-binds the manager's lifetime; naming it does not match"
)]

use sea_orm_migration::prelude::*;

mod dialect;
mod m0001_people;
mod m0002_hosts;
mod m0003_reservations;
mod m0004_instructions;
mod m0005_claims;
mod m0006_replicas;
mod m0007_sort_names;
mod m0008_notebooks;
mod m0009_machines_of_host;
mod m0010_notebook_policies;
mod m0011_notebook_idle;
mod m0012_deployments;
mod m0013_object_hosts;

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_people::MIGRATION),
            Box::new(m0002_hosts::MIGRATION),
            Box::new(m0003_reservations::MIGRATION),
            Box::new(m0004_instructions::MIGRATION),
            Box::new(m0005_claims::MIGRATION),
            Box::new(m0006_replicas::MIGRATION),
            Box::new(m0007_sort_names::MIGRATION),
            Box::new(m0008_notebooks::MIGRATION),
            Box::new(m0009_machines_of_host::MIGRATION),
            Box::new(m0010_notebook_policies::MIGRATION),
            Box::new(m0011_notebook_idle::MIGRATION),
            Box::new(m0012_deployments::MIGRATION),
            Box::new(m0013_object_hosts::MIGRATION),
        ]
    }
}
