//! What notebooks are made from: lists of Python packages. Each host makes an environment of a list once and keeps it.

use domain::{
    access::{Action, Permit},
    events::EventKind,
    ids::NotebookEnvironmentId,
    notebooks::{
        BASE, BASE_REQUIREMENTS, MAX_IMAGE_CHARS, MAX_REQUIREMENTS_BYTES, MAX_WARM, NotebookEnvironment, Pool, Software,
    },
};
use store::audit::Entry;

use super::find_size;
use crate::{
    Call, Error, Result, Services, audit,
    page::{Page, PageAsk},
};

const KIND: &str = "notebook environment";
const MAX_NAME_CHARS: usize = 63;

/// The tenant's `base`, which is made where it is first looked for.
async fn base(services: &Services, permit: &Permit) -> Result<NotebookEnvironment> {
    let missing = || Error::Internal("the environment 'base' is not there".to_owned());
    let find = store::notebooks::environments::by_name(services.store().read(), permit, BASE);
    if let Some(found) = find.await? {
        return Ok(found);
    }
    let environment = NotebookEnvironment {
        id: NotebookEnvironmentId::new(),
        tenant: permit.tenant(),
        name: BASE.to_owned(),
        software: Software::Packages { requirements: BASE_REQUIREMENTS.to_owned() },
        pool: None,
        created_by: None,
        created_at: services.clock().now(),
    };
    let tx = services.store().begin().await?;
    store::notebooks::environments::insert(&tx, &environment).await?;
    tx.commit().await?;
    store::notebooks::environments::by_name(services.store().read(), permit, BASE).await?.ok_or_else(missing)
}

/// By name or id; `base` if none is given.
pub(super) async fn find(services: &Services, permit: &Permit, which: Option<&str>) -> Result<NotebookEnvironment> {
    let which = which.map(str::trim).filter(|which| !which.is_empty()).unwrap_or(BASE);
    if which == BASE {
        return base(services, permit).await;
    }
    let conn = services.store().read();
    let found = match which.parse::<NotebookEnvironmentId>() {
        Ok(id) => store::notebooks::environments::get(conn, permit, id).await?,
        Err(_) => store::notebooks::environments::by_name(conn, permit, which).await?,
    };
    found.ok_or_else(|| Error::not_found(KIND, which))
}

/// By name.
pub async fn list(services: &Services, call: &Call, ask: &PageAsk) -> Result<Page<NotebookEnvironment>> {
    let permit = call.permit(Action::NotebooksRead)?;
    let limit = ask.limit()?;
    base(services, &permit).await?;
    let after = ask.after::<String>()?;
    let rows =
        store::notebooks::environments::list(services.store().read(), &permit, after.as_deref(), limit + 1).await?;
    Ok(Page::cut(rows, limit, |environment| environment.name.clone()))
}

/// Lines that would reach outside the list: other files of the server's or host's, other package indexes, options of pip.
fn check(requirements: &str) -> Result<()> {
    let bad = |why: String| Err(Error::invalid("requirements", why));
    if requirements.len() > MAX_REQUIREMENTS_BYTES {
        return bad(format!("has {} bytes; at most {MAX_REQUIREMENTS_BYTES}", requirements.len()));
    }
    if requirements.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return bad("is no text".to_owned());
    }
    for (number, line) in requirements.lines().enumerate() {
        if line.trim_start().starts_with('-') {
            let line: String = line.trim().chars().take(60).collect();
            return bad(format!("line {}: '{line}' is an option, and only packages can be listed", number + 1));
        }
    }
    Ok(())
}

/// An image as engines name it: a registry's path, with a tag or digest if it has one.
fn check_image(image: &str) -> Result<()> {
    let fits = (1..=MAX_IMAGE_CHARS).contains(&image.len())
        && image.starts_with(|c: char| c.is_ascii_alphanumeric())
        && image.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c));
    if fits {
        return Ok(());
    }
    let why = format!("1 to {MAX_IMAGE_CHARS} characters as in 'registry.example/team/lab:2026-11', without spaces");
    Err(Error::invalid("image", why))
}

/// What an environment is to be made from: a list of packages or an image, and not both.
pub fn software(requirements: Option<&str>, image: Option<&str>) -> Result<Software> {
    let image = image.map(str::trim).filter(|image| !image.is_empty());
    let requirements = requirements.filter(|list| !list.trim().is_empty());
    match (requirements, image) {
        (Some(_), Some(_)) => Err(Error::invalid("image", "give packages or an image, not both")),
        (None, Some(image)) => {
            check_image(image)?;
            Ok(Software::Image { image: image.to_owned() })
        }
        (requirements, None) => {
            let requirements = requirements.unwrap_or_default();
            check(requirements)?;
            Ok(Software::Packages { requirements: requirements.to_owned() })
        }
    }
}

/// Makes one for the whole tenant.
pub async fn create(services: &Services, call: &Call, name: &str, software: Software) -> Result<NotebookEnvironment> {
    let permit = call.permit(Action::NotebooksManage)?;
    let name = name.trim();
    let is_plain = (1..=MAX_NAME_CHARS).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !is_plain {
        let why = format!("1 to {MAX_NAME_CHARS} letters, digits, '.', '_' or '-', beginning with a letter or digit");
        return Err(Error::invalid("name", why));
    }
    base(services, &permit).await?;
    let now = services.clock().now();
    let environment = NotebookEnvironment {
        id: NotebookEnvironmentId::new(),
        tenant: permit.tenant(),
        name: name.to_owned(),
        software,
        pool: None,
        created_by: permit.person(),
        created_at: now,
    };
    let tx = services.store().begin().await?;
    if !store::notebooks::environments::insert(&tx, &environment).await? {
        return Err(Error::Conflict(format!("there is an environment '{name}' already; choose another name")));
    }
    let detail = match &environment.software {
        Software::Packages { requirements } => format!("'{name}', {} lines", requirements.lines().count()),
        Software::Image { image } => format!("'{name}', image {image}"),
    };
    audit::record(services, call, &permit, &tx, entry("notebook-environment.create", environment.id, detail)).await?;
    store::events::append(&tx, &permit, EventKind::Notebook, environment.id, "environment-created", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(environment)
}

/// Sets how many started ones of it wait, and of which size; by an admin.
pub async fn set_pool(
    services: &Services,
    call: &Call,
    which: &str,
    pool: Option<Pool>,
) -> Result<NotebookEnvironment> {
    let permit = call.permit(Action::NotebooksSet)?;
    let environment = find(services, &permit, Some(which)).await?;
    let pool = pool.filter(|pool| pool.count > 0);
    if let Some(pool) = &pool {
        if matches!(environment.software, Software::Image { .. }) {
            let why = "is an image, of which none is started ahead: a container cannot be given files while it runs";
            return Err(Error::invalid("environment", why));
        }
        if pool.count > MAX_WARM {
            return Err(Error::invalid("count", format!("at most {MAX_WARM}")));
        }
        let (policy, _) = store::notebooks::policy::get(services.store().read(), &permit).await?;
        find_size(&policy, Some(&pool.size))?;
    }
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    if !store::notebooks::environments::set_pool(&tx, &permit, environment.id, pool.as_ref()).await? {
        return Err(Error::not_found(KIND, which));
    }
    let words = pool.as_ref().map_or_else(|| "none".to_owned(), |pool| format!("{} of size {}", pool.count, pool.size));
    let detail = format!("'{}': {words} wait warm", environment.name);
    audit::record(services, call, &permit, &tx, entry("notebook-environment.pool", environment.id, detail)).await?;
    store::events::append(&tx, &permit, EventKind::Notebook, environment.id, "warm", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(NotebookEnvironment { pool, ..environment })
}

/// Deletes one that no notebook uses; by who made it, or an admin.
pub async fn delete(services: &Services, call: &Call, which: &str) -> Result<()> {
    let permit = call.permit(Action::NotebooksManage)?;
    let environment = find(services, &permit, Some(which)).await?;
    let Some(maker) = environment.created_by else {
        return Err(Error::Conflict(format!("'{}' comes with the server and stays", environment.name)));
    };
    permit.check_owner(maker)?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    if !store::notebooks::environments::delete(&tx, &permit, environment.id).await? {
        let why = format!("notebooks still use '{}', or wait warm; delete those first", environment.name);
        return Err(Error::Conflict(why));
    }
    let detail = format!("'{}'", environment.name);
    audit::record(services, call, &permit, &tx, entry("notebook-environment.delete", environment.id, detail)).await?;
    store::events::append(&tx, &permit, EventKind::Notebook, environment.id, "environment-deleted", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}

fn entry(action: &'static str, id: NotebookEnvironmentId, detail: String) -> Entry {
    Entry { action, subject_kind: "notebook-environment", subject_id: id.to_string(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_packages_is_no_list_of_options() {
        assert!(check("numpy>=2\n# mine\npandas[excel]==2.*\n").is_ok());
        for bad in ["-r /etc/passwd", "numpy\n  --index-url https://evil.example", "-e .", "a\0b", &"x".repeat(70_000)]
        {
            assert!(check(bad).is_err(), "{bad:.40}");
        }
        let error = check("numpy\n--pre").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
