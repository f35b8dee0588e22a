//! Lists of machines and hosts in the order in which people count: `slot-2` before `slot-10`.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await
    }
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await
    }
}

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
