//! Instructions, their transactions, and the output.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration = Migration { name: "m0004_instructions", up: &[Both(UP)], down: &[Both(DOWN)] };

const UP: &str = "
create table instructions (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    created_by :id references people (id),
    created_ms bigint not null,
    title text not null
)
--;
create index instructions_tenant on instructions (tenant_id, created_ms)
--;
create table transactions (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    instruction_id :id not null references instructions (id),
    host_id :id not null references hosts (id) on delete cascade,
    session_id :id references sessions (id),
    work text not null,
    idempotent boolean not null,
    state text not null,
    created_ms bigint not null,
    offered_ms bigint,
    claimed_ms bigint,
    claimed_serial text,
    started_ms bigint,
    ended_ms bigint,
    expires_ms bigint not null,
    exit_code integer,
    cause text,
    cancel_requested boolean not null,
    -- How much output is kept; past the limit the rest is dropped.
    output_bytes integer not null
)
--;
create index transactions_instruction on transactions (instruction_id)
--;
create index transactions_open on transactions (host_id, state) where state in ('waiting', 'offered', 'claimed', 'running')
--;
create table transaction_outputs (
    transaction_id :id not null references transactions (id) on delete cascade,
    seq bigint not null,
    channel text not null,
    content :bytes not null,
    primary key (transaction_id, seq)
)
";

const DOWN: &str = "
drop table transaction_outputs
--;
drop table transactions
--;
drop table instructions
";
