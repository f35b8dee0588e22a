//! When a notebook stops whose person was told that it is idle.

use crate::dialect::{Migration, Script::Both};

pub(crate) const MIGRATION: Migration = Migration { name: "m0011_notebook_idle", up: &[Both(UP)], down: &[Both(DOWN)] };

const UP: &str = "
alter table notebooks add column stops_ms bigint
";

const DOWN: &str = "
alter table notebooks drop column stops_ms
";
