//! Reservations and sessions, with the rule that no machine is held twice.

use crate::dialect::{
    Migration,
    Script::{Both, Postgres, Sqlite},
};

pub(crate) const MIGRATION: Migration = Migration {
    name: "m0003_reservations",
    up: &[Both(UP), Postgres(NO_OVERLAP_POSTGRES), Sqlite(NO_OVERLAP_SQLITE)],
    down: &[Both(DOWN)],
};

const UP: &str = "
create table reservations (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    person_id :id not null references people (id),
    start_ms bigint not null,
    end_ms bigint not null,
    state text not null,
    purpose text,
    environment text not null,
    created_ms bigint not null,
    generation bigint not null,
    check (start_ms < end_ms)
)
--;
create index reservations_tenant on reservations (tenant_id, start_ms)
--;
create index reservations_person on reservations (person_id, start_ms)
--;
create table sessions (
    id :id primary key,
    tenant_id :id not null references tenants (id),
    reservation_id :id not null references reservations (id),
    person_id :id not null references people (id),
    machine_id :id not null references machines (id),
    host_id :id not null references hosts (id),
    -- The reservation's own, repeated here because the no-overlap rule is on this table.
    start_ms bigint not null,
    end_ms bigint not null,
    -- Whether the machine is taken for [start_ms, end_ms).
    holds boolean not null,
    state text not null,
    since_ms bigint not null,
    cause text,
    cause_detail text,
    keep text not null,
    last_keepalive_ms bigint,
    taken_up boolean not null,
    -- The last warning of its end that was given.
    warned text,
    steps text not null,
    -- The instruction that prepares or reverts it now.
    transaction_id :id,
    generation bigint not null,
    check (start_ms < end_ms)
)
--;
create index sessions_reservation on sessions (reservation_id)
--;
create index sessions_machine on sessions (machine_id, start_ms)
--;
create index sessions_state on sessions (state, start_ms)
--;
create index sessions_holds on sessions (machine_id, end_ms) where holds
--;
-- At most one session's environment is on a machine, whatever two reconcilers try at once.
create unique index sessions_occupant on sessions (machine_id) where state in ('preparing', 'active', 'reverting')
--;
create index sessions_person on sessions (person_id, start_ms)
--;
create table session_logs (
    session_id :id not null references sessions (id),
    seq bigint not null,
    at_ms bigint not null,
    source text not null,
    content text not null,
    primary key (session_id, seq)
)
";

const DOWN: &str = "
drop table session_logs
--;
drop table sessions
--;
drop table reservations
";

/// D1. Inserts come with ON CONFLICT DO NOTHING: a plain insert is correct but two can deadlock.
const NO_OVERLAP_POSTGRES: &str = "
create extension if not exists btree_gist
--;
alter table sessions add constraint sessions_no_overlap
    exclude using gist (machine_id with =, int8range(start_ms, end_ms) with &&) where (holds)
";

/// D1. The statement itself asks WHERE NOT EXISTS; these stand behind it, so that no other statement can break the rule.
const NO_OVERLAP_SQLITE: &str = "
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
