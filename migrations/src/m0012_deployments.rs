//! Object workers: versions of their code, the classes of their objects, and which host has which objects.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration = Migration { name: "m0012_deployments", up: &[Both(UP)], down: &[Both(DOWN)] };

const UP: &str = "
-- The first labels of addresses, of all tenants: notebooks and deployments share them.
create table address_names (
    name text primary key
)
--;
insert into address_names (name) select name from notebooks
--;
create table deployments (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    name text not null unique references address_names (name),
    -- The version that runs.
    version bigint not null,
    -- Of the last migration of classes that was taken.
    migration_tag text,
    created_by :id not null references people (id),
    created_ms bigint not null,
    changed_ms bigint not null,
    generation bigint not null
)
--;
create index deployments_tenant on deployments (tenant_id, name)
--;
-- All modules of a version, once for each content.
create table deployment_bundles (
    tenant_id :id not null references tenants (id),
    -- SHA-256 of the body.
    digest :bytes not null,
    body :bytes not null,
    primary key (tenant_id, digest)
)
--;
create table deployment_versions (
    deployment_id :id not null references deployments (id) on delete cascade,
    number bigint not null,
    tenant_id :id not null references tenants (id),
    -- What it says of itself, as JSON.
    code text not null,
    digest :bytes not null,
    bundle_bytes bigint not null,
    note text not null,
    created_by :id not null references people (id),
    created_ms bigint not null,
    primary key (deployment_id, number),
    foreign key (tenant_id, digest) references deployment_bundles (tenant_id, digest)
)
--;
create index deployment_versions_digest on deployment_versions (tenant_id, digest)
--;
-- The objects of one class. Of one that was deleted the hosts still have to delete them.
create table deployment_namespaces (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    -- Null once the deployment is deleted.
    deployment_id :id references deployments (id) on delete set null,
    class text not null,
    deleted_ms bigint
)
--;
create unique index deployment_namespaces_class on deployment_namespaces (deployment_id, class) where deleted_ms is null
--;
create index deployment_namespaces_tenant on deployment_namespaces (tenant_id)
--;
-- Where a deployment's objects are.
create table object_groups (
    deployment_id :id not null references deployments (id) on delete cascade,
    number bigint not null,
    host_id :id not null references hosts (id),
    epoch bigint not null,
    primary key (deployment_id, number)
)
--;
create index object_groups_host on object_groups (host_id)
";

const DOWN: &str = "
drop table object_groups
--;
drop table deployment_namespaces
--;
drop table deployment_versions
--;
drop table deployment_bundles
--;
drop table deployments
--;
drop table address_names
";
