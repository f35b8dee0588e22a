//! Lists of machines and hosts in the order in which people count: `slot-2` before `slot-10`.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration = Migration { name: "m0007_sort_names", up: &[Both(UP)], down: &[Both(DOWN)] };

// What is there already sorts by its plain name until its host links the next time.
const UP: &str = "
alter table hosts add column sort_name text not null default ''
--;
update hosts set sort_name = name
--;
create index hosts_sort_name on hosts (tenant_id, sort_name)
--;
alter table machines add column sort_name text not null default ''
--;
update machines set sort_name = name
--;
create index machines_sort_name on machines (tenant_id, sort_name)
";

const DOWN: &str = "
drop index machines_sort_name
--;
alter table machines drop column sort_name
--;
drop index hosts_sort_name
--;
alter table hosts drop column sort_name
";
