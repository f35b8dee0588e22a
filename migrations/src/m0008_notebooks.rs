//! Notebooks, what they are made from, and how browsers get to them.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration = Migration { name: "m0008_notebooks", up: &[Both(UP)], down: &[Both(DOWN)] };

const UP: &str = "
-- What the host has for notebooks, as JSON; null where it takes none.
alter table hosts add column notebooks text
--;
create table notebook_environments (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    name text not null,
    requirements text not null,
    created_by :id references people (id),
    created_ms bigint not null
)
--;
create unique index notebook_environments_name on notebook_environments (tenant_id, name)
--;
create table notebooks (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    person_id :id not null references people (id),
    -- The first label of its address, so of all tenants.
    name text not null unique,
    environment_id :id not null references notebook_environments (id),
    size text not null,
    labels text not null,
    intent text not null,
    state text not null,
    since_ms bigint not null,
    cause text,
    -- The latest start, and where it is or was.
    run_id :id,
    host_id :id references hosts (id),
    -- The instruction that starts or stops it now, and the latest that started it: its output is the log.
    transaction_id :id,
    start_transaction_id :id,
    -- What the run takes up on its host while it is placed.
    cpu_millis bigint not null,
    memory_bytes bigint not null,
    steps text not null,
    created_ms bigint not null,
    generation bigint not null
)
--;
create index notebooks_tenant on notebooks (tenant_id, created_ms)
--;
create index notebooks_person on notebooks (person_id, created_ms)
--;
create index notebooks_host on notebooks (host_id, state)
--;
create index notebooks_state on notebooks (state)
--;
create unique index notebooks_run on notebooks (run_id)
--;
-- A person's files on a host.
create table notebook_volumes (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    person_id :id not null references people (id),
    host_id :id not null references hosts (id),
    size_bytes bigint not null,
    created_ms bigint not null
)
--;
create unique index notebook_volumes_person on notebook_volumes (person_id, host_id)
--;
-- SHA-256 of what lets a browser in: a ticket is used up by its visit.
create table notebook_visits (
    hash text primary key,
    tenant_id :id not null references tenants (id),
    notebook_id :id not null references notebooks (id) on delete cascade,
    person_id :id not null references people (id),
    -- The sign-in by which the visitor came, and with which the visit ends.
    sign_in text not null,
    is_ticket boolean not null,
    expires_ms bigint not null
)
--;
create index notebook_visits_expires on notebook_visits (expires_ms)
--;
create index notebook_visits_notebook on notebook_visits (notebook_id)
";

const DOWN: &str = "
drop table notebook_visits
--;
drop table notebook_volumes
--;
drop table notebooks
--;
drop table notebook_environments
--;
alter table hosts drop column notebooks
";
