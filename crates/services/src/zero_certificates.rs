//! Zero certificates, and the joining of hosts (D4).

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    access::{Action, Permit},
    certificates::{JoinPolicy, MAX_LIFETIME, MAX_USES, ZeroCertificate, ZeroCertificateState},
    events::EventKind,
    hosts::{Host, HostIntent, HostLink},
    ids::{HostId, TenantId, ZeroCertificateId},
    labels::Labels,
};
use jiff::SignedDuration;
use protocol::enroll::{EnrollRequest, EnrollResponse, ZeroCertificateFile};
use store::{audit::Entry, certificates::Issued, events::Told, zero_certificates::Enrollment};

use crate::{
    Call, Error, Result, Services, audit,
    certificates::{self, HOST_LIFETIME, Subject},
    page::{Page, PageAsk},
};

/// What a zero certificate is to be good for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// For people.
    pub name: String,
    pub max_uses: u32,
    pub lifetime: SignedDuration,
    pub join: JoinPolicy,
}

/// A new zero certificate with the file, which is kept nowhere.
#[derive(Clone)]
pub struct Created {
    pub zero_certificate: ZeroCertificate,
    /// TOML.
    pub file: String,
}

/// Makes one and its file.
pub async fn create(services: &Services, call: &Call, ask: Ask) -> Result<Created> {
    let permit = call.permit(Action::ZeroCertificatesManage)?;
    make(services, &permit, &call.person_name, call.request_id.as_deref(), ask).await
}

/// As [`create`], for the operator at the server's own command line; in the oldest tenant.
pub async fn create_as_operator(services: &Services, ask: Ask) -> Result<Created> {
    let tenants = store::tenants::list(services.store()).await?;
    let Some((tenant, _)) = tenants.first() else {
        return Err(Error::Conflict(
            "there is no tenant yet: make an admin first (berth-server admin create)".to_owned(),
        ));
    };
    make(services, &Permit::system(*tenant), "berth-server admin", None, ask).await
}

/// `1 host`, `20 hosts`.
fn hosts(number: u32) -> String {
    if number == 1 { "1 host".to_owned() } else { format!("{number} hosts") }
}

async fn make(
    services: &Services,
    permit: &Permit,
    person_name: &str,
    request_id: Option<&str>,
    ask: Ask,
) -> Result<Created> {
    let name = ask.name.trim();
    if name.is_empty() || name.chars().count() > 80 || name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "write 1 to 80 characters that say what it is for"));
    }
    if !(1..=MAX_USES).contains(&ask.max_uses) {
        return Err(Error::invalid("max_uses", format!("{} is not from 1 to {MAX_USES}", ask.max_uses)));
    }
    if ask.lifetime < SignedDuration::from_mins(1) || ask.lifetime > MAX_LIFETIME {
        let hours = MAX_LIFETIME.as_hours();
        return Err(Error::invalid("lifetime_hours", format!("has to be from 1 minute to {hours} hours")));
    }
    let authority = certificates::tenant_authority(services, permit).await?;
    let server_authority = certificates::server_authority(services).await?;
    let now = services.clock().now();
    let expires_at = now.saturating_add(ask.lifetime).map_err(|e| Error::invalid("lifetime_hours", e.to_string()))?;
    let zero = ZeroCertificate {
        id: ZeroCertificateId::new(),
        tenant: permit.tenant(),
        name: name.to_owned(),
        join: ask.join,
        max_uses: ask.max_uses,
        uses: 0,
        created_by: permit.person(),
        created_at: now,
        expires_at,
        revoked_at: None,
    };
    let key = certificates::new_key()?;
    let signed = certificates::sign(&authority, Subject::Zero(zero.id), &key, now, expires_at)?;
    let file = ZeroCertificateFile {
        zero_certificate: zero.id,
        tenant: zero.tenant,
        server: services.settings().agents_url.clone(),
        ca_pem: server_authority.certificate_pem.clone(),
        certificate_pem: signed.pem,
        key_pem: key.serialize_pem(),
    };
    let file = toml::to_string(&file).map_err(|e| Error::Internal(e.to_string()))?;
    let tx = services.store().begin().await?;
    store::zero_certificates::insert(&tx, permit, &zero, &signed.serial).await?;
    let entry = Entry {
        action: "zero-certificate.create",
        subject_kind: "zero-certificate",
        subject_id: zero.id.to_string(),
        detail: format!("'{}' for {} until {}, {}", zero.name, hosts(zero.max_uses), zero.expires_at, zero.join),
    };
    store::audit::append(&tx, permit, person_name, entry, request_id, now).await?;
    store::events::append(&tx, permit, EventKind::ZeroCertificate, zero.id, "created", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(Created { zero_certificate: zero, file })
}

/// Newest first.
pub async fn list(services: &Services, call: &Call, ask: &PageAsk) -> Result<Page<ZeroCertificate>> {
    let permit = call.permit(Action::ZeroCertificatesManage)?;
    let limit = ask.limit()?;
    let after = ask.after::<ZeroCertificateId>()?;
    let rows = store::zero_certificates::list(services.store(), &permit, after, limit + 1).await?;
    Ok(Page::cut(rows, limit, |zero| zero.id))
}

pub async fn get(services: &Services, call: &Call, id: ZeroCertificateId) -> Result<ZeroCertificate> {
    let permit = call.permit(Action::ZeroCertificatesManage)?;
    store::zero_certificates::get(services.store(), &permit, id)
        .await?
        .ok_or_else(|| Error::not_found("zero certificate", id))
}

/// No host can join with it any more; those that did stay.
pub async fn revoke(services: &Services, call: &Call, id: ZeroCertificateId) -> Result<ZeroCertificate> {
    let permit = call.permit(Action::ZeroCertificatesManage)?;
    let now = services.clock().now();
    let zero = get(services, call, id).await?;
    let tx = services.store().begin().await?;
    if !store::zero_certificates::revoke(&tx, &permit, id, now).await? {
        return Err(Error::Conflict(format!("the zero certificate '{}' is revoked already", zero.name)));
    }
    let entry = Entry {
        action: "zero-certificate.revoke",
        subject_kind: "zero-certificate",
        subject_id: id.to_string(),
        detail: format!("'{}' after {} of {} uses", zero.name, zero.uses, zero.max_uses),
    };
    audit::record(services, call, &permit, &tx, entry).await?;
    store::events::append(&tx, &permit, EventKind::ZeroCertificate, id, "revoked", now).await?;
    tx.commit().await?;
    services.live().nudge();
    get(services, call, id).await
}

/// The longest name of a host, characters.
const MAX_HOST_NAME: usize = 63;

/// A name that a host may have: what people type, and part of its machines' names.
fn check_name(name: &str) -> Result<()> {
    let fits = !name.is_empty()
        && name.len() <= MAX_HOST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        && !name.contains("..");
    if fits {
        Ok(())
    } else {
        Err(Error::invalid(
            "name",
            "a host's name is 1 to 63 letters, digits, '-', '_' or single '.', beginning with a letter or digit",
        ))
    }
}

/// A host joins with a zero certificate, which it showed on its connection. The same key asking again gets the same
/// answer and costs no second use.
pub async fn enroll(
    services: &Services,
    tenant: TenantId,
    zero_certificate: ZeroCertificateId,
    request: &EnrollRequest,
) -> Result<EnrollResponse> {
    check_name(&request.name)?;
    let der = STANDARD.decode(&request.csr).map_err(|_| Error::invalid("csr", "is no base64"))?;
    let csr = certificates::read_csr(&der)?;
    let permit = Permit::system(tenant);
    let authority = certificates::tenant_authority(services, &permit).await?;
    let server_authority = certificates::server_authority(services).await?;
    let now = services.clock().now();

    let tx = services.store().begin().await?;
    let zero = store::zero_certificates::lock(&tx, &permit, zero_certificate)
        .await?
        .ok_or_else(|| Error::not_found("zero certificate", zero_certificate))?;
    let answer = |host: &Host, certificate_pem: String| EnrollResponse {
        host: host.id,
        name: host.name.clone(),
        certificate_pem,
        ca_pem: server_authority.certificate_pem.clone(),
        pending_approval: host.intent == HostIntent::Pending,
    };
    match zero.state(now) {
        ZeroCertificateState::Valid | ZeroCertificateState::UsedUp => {}
        state @ (ZeroCertificateState::Expired | ZeroCertificateState::Revoked) => {
            return Err(Error::Conflict(format!("this zero certificate is {state}; ask an admin for a new one")));
        }
    }
    if let Some(earlier) = store::zero_certificates::enrollment(&tx, zero.id, &csr.hash).await? {
        let host = store::hosts::get_in(&tx, &permit, earlier.host).await?.ok_or_else(|| {
            Error::Conflict("the host that joined with this key was deleted; join with a new key".to_owned())
        })?;
        return match host.intent {
            HostIntent::Revoked => {
                Err(Error::Conflict(format!("the host '{}' that joined with this key was revoked", host.name)))
            }
            HostIntent::Pending | HostIntent::InService | HostIntent::Draining | HostIntent::Maintenance => {
                Ok(answer(&host, earlier.certificate_pem))
            }
        };
    }
    if !store::zero_certificates::take_use(&tx, &permit, zero.id, now).await? {
        return Err(Error::Conflict(format!(
            "this zero certificate was good for {} and is used up; ask an admin for a new one",
            hosts(zero.max_uses)
        )));
    }

    let id = HostId::new();
    let expires_at = now.saturating_add(HOST_LIFETIME).map_err(|e| Error::Internal(e.to_string()))?;
    let signed = certificates::sign(&authority, Subject::Host(id), &csr.key, now, expires_at)?;
    let host = Host {
        id,
        tenant,
        name: free_name(&tx, &permit, &request.name).await?,
        labels: Labels::default(),
        intent: match zero.join {
            JoinPolicy::Open => HostIntent::InService,
            JoinPolicy::Approval => HostIntent::Pending,
        },
        link: HostLink::Offline,
        link_since: now,
        last_heartbeat_at: None,
        agent_version: None,
        enrolled_at: now,
        certificate_serial: signed.serial.clone(),
        certificate_expires_at: expires_at,
    };
    store::hosts::insert(&tx, &permit, &host, zero.id).await?;
    let issued =
        Issued { serial: signed.serial, host: id, public_key_hash: csr.hash.clone(), issued_at: now, expires_at };
    store::certificates::insert(&tx, &permit, &issued).await?;
    let enrollment = Enrollment { host: id, certificate_pem: signed.pem };
    store::zero_certificates::insert_enrollment(&tx, zero.id, &csr.hash, &enrollment, now).await?;
    let entry = Entry {
        action: "host.enroll",
        subject_kind: "host",
        subject_id: id.to_string(),
        detail: format!("'{}' joined with the zero certificate '{}'", host.name, zero.name),
    };
    store::audit::append(&tx, &permit, "agent", entry, None, now).await?;
    let told = |kind, subject, word| Told { tenant, kind, subject, word };
    let events =
        [told(EventKind::Host, id.uuid(), "created"), told(EventKind::ZeroCertificate, zero.id.uuid(), "used")];
    store::events::append_all(&tx, &events, now);
    tx.commit().await?;
    services.live().nudge();
    Ok(answer(&host, enrollment.certificate_pem))
}

/// `wanted`, or the first of `wanted-2`, `wanted-3`, … that no host has.
async fn free_name(tx: &store::Tx, permit: &Permit, wanted: &str) -> Result<String> {
    if !store::hosts::is_name_taken(tx, permit, wanted).await? {
        return Ok(wanted.to_owned());
    }
    let base: String = wanted.chars().take(MAX_HOST_NAME - 7).collect();
    for number in 2..1_000_000_u32 {
        let name = format!("{base}-{number}");
        if !store::hosts::is_name_taken(tx, permit, &name).await? {
            return Ok(name);
        }
    }
    Err(Error::Conflict(format!("too many hosts are called '{wanted}'; join under another name")))
}
