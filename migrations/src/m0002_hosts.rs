//! Hosts, their certificates, how they joined, and the machines that they offer.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration = Migration { name: "m0002_hosts", up: &[Both(UP)], down: &[Both(DOWN)] };

const UP: &str = "
-- Signs the certificate of the agents' port; apart from the tenants' own, so that no host can pass for the server.
create table server_authority (
    id integer primary key check (id = 1),
    certificate_pem text not null,
    sealed_key text not null,
    created_ms bigint not null
)
--;
create table certificate_authorities (
    tenant_id :id primary key references tenants (id),
    certificate_pem text not null,
    -- Sealed with the server's own key, never in clear.
    sealed_key text not null,
    created_ms bigint not null
)
--;
create table zero_certificates (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    name text not null,
    join_policy text not null,
    max_uses integer not null,
    uses integer not null,
    serial text not null unique,
    created_by :id references people (id),
    created_ms bigint not null,
    expires_ms bigint not null,
    revoked_ms bigint,
    check (uses <= max_uses)
)
--;
create table hosts (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    name text not null,
    labels text not null,
    intent text not null,
    link text not null,
    link_since_ms bigint not null,
    -- Which server replica holds the link.
    link_owner :id,
    last_heartbeat_ms bigint,
    agent_version text,
    zero_certificate_id :id references zero_certificates (id),
    enrolled_ms bigint not null,
    -- The certificate in use.
    certificate_serial text not null,
    certificate_expires_ms bigint not null,
    -- Kept for the history of its machines; its name is free again.
    deleted_ms bigint
)
--;
create unique index hosts_name on hosts (tenant_id, name) where deleted_ms is null
--;
create index hosts_link on hosts (link, last_heartbeat_ms)
--;
create table enrollments (
    zero_certificate_id :id not null references zero_certificates (id),
    public_key_hash text not null,
    host_id :id not null references hosts (id) on delete cascade,
    certificate_pem text not null,
    created_ms bigint not null,
    primary key (zero_certificate_id, public_key_hash)
)
--;
create table host_certificates (
    serial text primary key,
    tenant_id :id not null references tenants (id),
    host_id :id not null references hosts (id) on delete cascade,
    public_key_hash text not null,
    issued_ms bigint not null,
    expires_ms bigint not null,
    first_used_ms bigint,
    revoked_ms bigint
)
--;
create index host_certificates_host on host_certificates (host_id)
--;
create index host_certificates_revoked on host_certificates (revoked_ms) where revoked_ms is not null
--;
create table machines (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    host_id :id not null references hosts (id),
    name text not null,
    -- The name that the agent knows it by.
    local_name text not null,
    kind text not null,
    labels text not null,
    cpu_millis integer not null,
    memory_bytes bigint not null,
    pids integer not null,
    disk_bytes bigint not null,
    condition text not null,
    reason text,
    condition_since_ms bigint not null,
    -- Checks of a quarantined machine: how many were done, when the next is due, and the instruction of the one under way.
    verifications integer not null default 0,
    verify_at_ms bigint,
    verify_transaction_id :id,
    unique (host_id, local_name)
)
--;
-- A withdrawn machine keeps its history, not its name: a host that joins anew under an old name inherits nothing.
create unique index machines_name on machines (tenant_id, name) where condition <> 'withdrawn'
--;
create index machines_verify on machines (verify_at_ms) where condition = 'quarantined'
";

const DOWN: &str = "
drop table machines
--;
drop table host_certificates
--;
drop table enrollments
--;
drop table hosts
--;
drop table zero_certificates
--;
drop table certificate_authorities
--;
drop table server_authority
";
