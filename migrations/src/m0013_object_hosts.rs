//! Which hosts run objects.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration = Migration { name: "m0013_object_hosts", up: &[Both(UP)], down: &[Both(DOWN)] };

const UP: &str = "
-- How other hosts reach it, as JSON; null where it runs no objects.
alter table hosts add column objects text
";

const DOWN: &str = "
alter table hosts drop column objects
";
