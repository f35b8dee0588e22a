//! Tenants, people and how they sign in, tokens, audit log, events, idempotency keys.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration = Migration { name: "m0001_people", up: &[Both(UP)], down: &[Both(DOWN)] };

const UP: &str = "
create table tenants (
    id :id primary key,
    name text not null,
    created_ms bigint not null
)
--;
create table people (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    email text not null,
    name text not null,
    role text not null,
    locked boolean not null,
    password_hash text,
    created_ms bigint not null,
    deleted_ms bigint,
    unique (tenant_id, email)
)
--;
create table one_time_links (
    token_hash text primary key,
    tenant_id :id not null references tenants (id),
    person_id :id not null references people (id),
    created_ms bigint not null,
    expires_ms bigint not null,
    used_ms bigint
)
--;
create table sign_ins (
    id text primary key,
    tenant_id :id references tenants (id),
    person_id :id references people (id),
    data text not null,
    created_ms bigint not null,
    last_seen_ms bigint not null,
    expires_ms bigint not null
)
--;
create index sign_ins_person on sign_ins (person_id)
--;
create index sign_ins_expires on sign_ins (expires_ms)
--;
create table sign_in_attempts (
    id :serial,
    attempt_key text not null,
    at_ms bigint not null
)
--;
create index sign_in_attempts_key on sign_in_attempts (attempt_key, at_ms)
--;
create table tokens (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    person_id :id not null references people (id),
    name text not null,
    scope text not null,
    hash text not null unique,
    created_ms bigint not null,
    expires_ms bigint not null,
    last_used_ms bigint,
    revoked_ms bigint
)
--;
create index tokens_person on tokens (person_id)
--;
create table audit (
    id :serial,
    tenant_id :id not null references tenants (id),
    at_ms bigint not null,
    person_id :id,
    person_name text not null,
    action text not null,
    subject_kind text not null,
    subject_id text not null,
    detail text not null,
    request_id text
)
--;
create index audit_tenant on audit (tenant_id, id)
--;
create table events (
    revision :serial,
    tenant_id :id not null references tenants (id),
    kind text not null,
    subject :id not null,
    word text not null,
    at_ms bigint not null
)
--;
create index events_tenant on events (tenant_id, revision)
--;
create table idempotency_keys (
    tenant_id :id not null references tenants (id),
    person_id :id not null references people (id),
    idempotency_key text not null,
    request_hash text not null,
    status integer,
    response text,
    created_ms bigint not null,
    primary key (tenant_id, person_id, idempotency_key)
)
";

const DOWN: &str = "
drop table idempotency_keys
--;
drop table events
--;
drop table audit
--;
drop table tokens
--;
drop table sign_in_attempts
--;
drop table sign_ins
--;
drop table one_time_links
--;
drop table people
--;
drop table tenants
";
