//! The first labels of addresses (`NAME.apps.example.org`), of all tenants and kinds.

use crate::{StoreError, Tx, sql};

/// False if something has the name already.
pub async fn take(tx: &Tx, name: &str) -> Result<bool, StoreError> {
    let insert = "insert into address_names (name) values ($1) on conflict (name) do nothing";
    Ok(sql::execute(tx.conn(), insert, [name.into()]).await? == 1)
}

/// After what had it is gone.
pub async fn give_up(tx: &Tx, name: &str) -> Result<(), StoreError> {
    sql::execute(tx.conn(), "delete from address_names where name = $1", [name.into()]).await?;
    Ok(())
}
