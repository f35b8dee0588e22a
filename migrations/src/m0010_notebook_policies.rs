//! What admins set for notebooks, runs that wait warm, who a notebook is shared with, and when it was last used.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration =
    Migration { name: "m0010_notebook_policies", up: &[Both(UP)], down: &[Both(DOWN)] };

const UP: &str = "
-- A tenant without a row has the policy that comes with the server.
create table notebook_policies (
    tenant_id :id primary key references tenants (id),
    policy text not null,
    generation bigint not null
)
--;
-- Of an environment that is an image; its requirements are empty then.
alter table notebook_environments add column image text
--;
-- How many started ones wait, and of which size.
alter table notebook_environments add column warm_count bigint not null default 0
--;
alter table notebook_environments add column warm_size text
--;
alter table notebooks add column disk_bytes bigint not null default 4294967296
--;
-- The run was warm when the notebook got it.
alter table notebooks add column is_given boolean not null default false
--;
-- The last sign of use that is known, while it runs; and when its person was told that it stops.
alter table notebooks add column active_ms bigint
--;
alter table notebooks add column warned_ms bigint
--;
-- Started ones without anybody's files, which wait for whoever asks next.
create table notebook_warm_runs (
    run_id :id primary key,
    tenant_id :id not null references tenants (id),
    environment_id :id not null references notebook_environments (id),
    size text not null,
    cpu_millis bigint not null,
    memory_bytes bigint not null,
    disk_bytes bigint not null,
    host_id :id not null references hosts (id),
    state text not null,
    since_ms bigint not null,
    cause text,
    transaction_id :id
)
--;
create index notebook_warm_runs_host on notebook_warm_runs (host_id, state)
--;
create index notebook_warm_runs_tenant on notebook_warm_runs (tenant_id, environment_id)
--;
create table notebook_shares (
    notebook_id :id not null references notebooks (id) on delete cascade,
    person_id :id not null references people (id),
    tenant_id :id not null references tenants (id),
    access text not null,
    created_by :id not null references people (id),
    created_ms bigint not null,
    primary key (notebook_id, person_id)
)
--;
create index notebook_shares_person on notebook_shares (person_id, notebook_id)
--;
-- The instruction that deletes the files, while they are being deleted.
alter table notebook_volumes add column transaction_id :id
--;
alter table notebook_volumes add column cause text
";

const DOWN: &str = "
alter table notebook_volumes drop column cause
--;
alter table notebook_volumes drop column transaction_id
--;
drop table notebook_shares
--;
drop table notebook_warm_runs
--;
alter table notebooks drop column warned_ms
--;
alter table notebooks drop column active_ms
--;
alter table notebooks drop column is_given
--;
alter table notebooks drop column disk_bytes
--;
alter table notebook_environments drop column warm_size
--;
alter table notebook_environments drop column warm_count
--;
alter table notebook_environments drop column image
--;
drop table notebook_policies
";
