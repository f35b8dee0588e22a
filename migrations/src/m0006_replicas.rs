//! Several servers on one database: who they are, which of them holds a host's tunnel, and whose request a key is.
//! Tokens that were made with another token end with it.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration = Migration { name: "m0006_replicas", up: &[Both(UP)], down: &[Both(DOWN)] };

const UP: &str = "
create table replicas (
    id :id primary key,
    -- HOST:PORT where the others reach its agents' port.
    address text not null,
    -- Of the certificate with which it calls the others.
    serial text not null unique,
    started_ms bigint not null,
    heartbeat_ms bigint not null
)
--;
-- The tunnel may come in at another server than the link.
alter table hosts add column tunnel_owner :id
--;
-- The server that answers the request, the claim that a write has to name, and what the request made, written in the
-- transaction that made it: a server killed before it answered leaves enough to answer the same.
alter table idempotency_keys add column owner :id
--;
alter table idempotency_keys add column claim :id
--;
alter table idempotency_keys add column made_kind text
--;
alter table idempotency_keys add column made_id :id
--;
alter table idempotency_keys add column headers text
--;
alter table tokens add column parent_id :id
--;
create index tokens_parent on tokens (parent_id) where parent_id is not null
";

const DOWN: &str = "
drop index tokens_parent
--;
alter table tokens drop column parent_id
--;
alter table idempotency_keys drop column headers
--;
alter table idempotency_keys drop column made_id
--;
alter table idempotency_keys drop column made_kind
--;
alter table idempotency_keys drop column claim
--;
alter table idempotency_keys drop column owner
--;
alter table hosts drop column tunnel_owner
--;
drop table replicas
";
