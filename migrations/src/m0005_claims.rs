//! Questions about one machine's claims are answered from an index alone, and cost the same however many it has: as claims
//! never overlap, the order of their ends is that of their starts, so that the first one that ends after a time decides.

use crate::dialect::{
    Migration,
    Script::{Both, Sqlite},
};

pub(crate) const MIGRATION: Migration =
    Migration { name: "m0005_claims", up: &[Both(UP), Sqlite(UP_SQLITE)], down: &[Both(DOWN), Sqlite(DOWN_SQLITE)] };

const UP: &str = "
drop index sessions_holds
--;
create index sessions_holds on sessions (machine_id, end_ms, start_ms, tenant_id) where holds
";

const DOWN: &str = "
drop index sessions_holds
--;
create index sessions_holds on sessions (machine_id, end_ms) where holds
";

/// D1. As before, but each looks at one claim instead of all that the machine has before or after it.
const UP_SQLITE: &str = "
drop trigger sessions_no_overlap_insert
--;
drop trigger sessions_no_overlap_update
--;
create trigger sessions_no_overlap_insert before insert on sessions when new.holds begin
    select raise(abort, 'sessions_no_overlap') where exists (select 1 from (
        select start_ms from sessions where machine_id = new.machine_id and holds
            and end_ms > new.start_ms order by end_ms limit 1) where start_ms < new.end_ms);
end
--;
create trigger sessions_no_overlap_update before update of start_ms, end_ms, holds, machine_id on sessions
    when new.holds begin
    select raise(abort, 'sessions_no_overlap') where exists (select 1 from (
        select start_ms from sessions where machine_id = new.machine_id and holds and id <> new.id
            and end_ms > new.start_ms order by end_ms limit 1) where start_ms < new.end_ms);
end
";

const DOWN_SQLITE: &str = "
drop trigger sessions_no_overlap_insert
--;
drop trigger sessions_no_overlap_update
--;
create trigger sessions_no_overlap_insert before insert on sessions when new.holds begin
    select raise(abort, 'sessions_no_overlap') where exists (
        select 1 from sessions where machine_id = new.machine_id and holds
            and start_ms < new.end_ms and new.start_ms < end_ms);
end
--;
create trigger sessions_no_overlap_update before update of start_ms, end_ms, holds, machine_id on sessions
    when new.holds begin
    select raise(abort, 'sessions_no_overlap') where exists (
        select 1 from sessions where machine_id = new.machine_id and holds and id <> new.id
            and start_ms < new.end_ms and new.start_ms < end_ms);
end
";
