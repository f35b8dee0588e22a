//! The machines of one host, found at a cost that does not rise with the tenant's other hosts: of two indexes that begin with one
//! column each, SQLite took the one by tenant, so that each host that linked had all machines of its tenant read.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration =
    Migration { name: "m0009_machines_of_host", up: &[Both(UP)], down: &[Both(DOWN)] };

const UP: &str = "
create index machines_host on machines (host_id, tenant_id)
--;
drop index notebooks_host
--;
create index notebooks_host on notebooks (host_id, tenant_id, state)
";

const DOWN: &str = "
drop index notebooks_host
--;
create index notebooks_host on notebooks (host_id, state)
--;
drop index machines_host
";
