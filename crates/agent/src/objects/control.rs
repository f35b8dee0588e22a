//! What the server asks about this host's objects, through the tunnel: [`protocol::objects::control`].

use std::{
    convert::Infallible,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::ids::{DeploymentId, NamespaceId};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use objects::{
    engine::id_from_name,
    host::{
        console::{Kept, Since},
        deployment::{DeleteObjectError, Deployment, InspectError, ObjectDetail},
        log::{ObjectKey, OpenFileError, Page},
    },
    wire::{INSPECTED_BYTES, Inspect, Level},
};
use protocol::objects::{
    Planned, PlannedClass,
    control::{
        AskBriefs, BRIEF_BUCKETS, Brief, Briefs, Bucket, Console, DeploymentStatus, Failed, Line, LineOf, Look,
        MAX_ANSWER_BYTES, MAX_BRIEFS, MAX_LINES, MAX_OBJECTS, MAX_WAIT_MS, ObjectStatus, Objects,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

use super::apply::Applier;

const MAX_ASK_BYTES: usize = 256 * 1024;
const HEADER_LIMIT: Duration = Duration::from_secs(60);
/// Lines that are looked through for those of one object, each time.
const LOOKED_THROUGH: usize = 2_000;
/// Of an answer's lines together; the rest of it has room beside them.
const LINES_BYTES: usize = MAX_ANSWER_BYTES - 1024;

// What a look finds is passed on as it is.
const _: () = assert!(INSPECTED_BYTES <= MAX_ANSWER_BYTES);

#[derive(Debug, thiserror::Error)]
enum ControlError {
    #[error("there is no {0} here")]
    NotFound(&'static str),
    #[error("the deployment has not come to this host yet")]
    NotHere,
    #[error("'{0}' cannot be: {1}")]
    Bad(&'static str, String),
    #[error("the question cannot be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the question cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the objects' files cannot be read: {0}")]
    List(#[from] io::Error),
    #[error("the object's file cannot be read: {0}")]
    Open(#[from] OpenFileError),
    #[error(transparent)]
    Look(#[from] InspectError),
    #[error("{0}")]
    Delete(#[from] Arc<DeleteObjectError>),
    #[error("the work was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl ControlError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) | Self::NotHere => StatusCode::NOT_FOUND,
            Self::Bad(..) | Self::Body(_) | Self::Json(_) => StatusCode::BAD_REQUEST,
            Self::Look(InspectError::Question(_)) => StatusCode::BAD_REQUEST,
            Self::Look(InspectError::Object(problem))
                if problem.retryable || problem.overloaded || problem.object_reset =>
            {
                StatusCode::SERVICE_UNAVAILABLE
            }
            // It is given up, or its code does not load.
            Self::Look(InspectError::Object(_)) => StatusCode::CONFLICT,
            Self::Delete(error) => match &**error {
                DeleteObjectError::NoSuchClass => StatusCode::NOT_FOUND,
                DeleteObjectError::Elsewhere => StatusCode::CONFLICT,
                DeleteObjectError::Open(_) | DeleteObjectError::Commit(_) => StatusCode::INTERNAL_SERVER_ERROR,
                DeleteObjectError::Ended => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::List(_) | Self::Open(_) | Self::Interrupted(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Serves one connection to its end.
pub async fn serve<S>(stream: S, applier: Arc<Applier>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let applier = applier.clone();
        async move { Ok::<_, Infallible>(Box::pin(answer(&applier, request)).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "the server's question about objects ended early");
    }
}

async fn answer(applier: &Applier, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match Box::pin(take(applier, request)).await {
        Ok(response) => response,
        Err(error) => {
            if error.status().is_server_error() {
                tracing::error!(%error, "a question about objects");
            }
            let why = Failed { why: error.to_string() };
            json(error.status(), &why).unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR))
        }
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Full<Bytes>>, ControlError> {
    Ok(text(status, serde_json::to_string(value)?))
}

fn text(status: StatusCode, json: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(json));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(&self, name: &'static str) -> Result<Option<String>, ControlError> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let Some((_, value)) = pairs.find(|(key, value)| *key == name && !value.is_empty()) else { return Ok(None) };
        decoded(value).map(Some).ok_or_else(|| ControlError::Bad(name, shortened(value)))
    }
    fn parse<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, ControlError> {
        self.get(name)?.map(|text| id(name, &text)).transpose()
    }
}

/// `%2F` is `/`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                bytes.extend(hex::decode([*high, *low]).ok()?);
                rest = behind;
            }
            (b'%', _) => return None,
            (_, _) => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn object_id(text: &str) -> Result<[u8; 32], ControlError> {
    let mut id = [0; 32];
    match hex::decode_to_slice(text, &mut id) {
        Ok(()) => Ok(id),
        Err(_) => Err(ControlError::Bad("object", shortened(text))),
    }
}

fn id<T: std::str::FromStr>(name: &'static str, text: &str) -> Result<T, ControlError> {
    text.parse().map_err(|_| ControlError::Bad(name, shortened(text)))
}

fn key(namespace: NamespaceId, id: [u8; 32]) -> ObjectKey {
    ObjectKey { namespace: namespace.uuid().into_bytes(), id }
}

async fn take(applier: &Applier, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, ControlError> {
    let (head, body) = request.into_parts();
    let query = Query(head.uri.query().unwrap_or_default());
    let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
    let ["deployments", named, rest @ ..] = path.as_slice() else {
        return match (&head.method, path.as_slice()) {
            (&Method::POST, ["briefs"]) => json(StatusCode::OK, &briefs(applier, read(body).await?)?),
            (_, _) => Err(ControlError::NotFound("such question")),
        };
    };
    let named: DeploymentId = id("deployment", named)?;
    let deployment = || applier.host.deployment(&named.to_string()).ok_or(ControlError::NotHere);
    match (&head.method, rest) {
        (&Method::GET, []) => json(StatusCode::OK, &status(applier, named)?),
        (&Method::GET, ["objects"]) => {
            let planned = applier.planned(named).ok_or(ControlError::NotHere)?;
            json(StatusCode::OK, &list(deployment()?, planned, Asked::read(&query)?).await?)
        }
        (&Method::GET, ["console"]) => json(StatusCode::OK, &console(deployment()?.as_ref(), &query).await?),
        (method, ["objects", namespace, object, last @ ..]) => {
            let key = key(id("namespace", namespace)?, object_id(object)?);
            let deployment = deployment()?;
            match (method, last) {
                (&Method::GET, []) => json(StatusCode::OK, &object_status(deployment, key).await?),
                (&Method::DELETE, []) => {
                    deployment.delete_object(key).await?;
                    Ok(empty(StatusCode::NO_CONTENT))
                }
                (&Method::POST, ["look"]) => {
                    let what = inspect(read(body).await?);
                    Ok(text(StatusCode::OK, deployment.inspect(key, what).await?))
                }
                (_, _) => Err(ControlError::NotFound("such question")),
            }
        }
        (_, _) => Err(ControlError::NotFound("such question")),
    }
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, ControlError> {
    let body = Limited::new(body, MAX_ASK_BYTES).collect().await.map_err(ControlError::Body)?;
    Ok(serde_json::from_slice(&body.to_bytes())?)
}

fn inspect(look: Look) -> Inspect {
    match look {
        Look::Summary => Inspect::Summary,
        Look::Kv { start, limit } => Inspect::Kv { start, limit },
        Look::Sql { query, limit } => Inspect::Sql { query, limit },
    }
}

/// Of those that are here, or that say why they are not.
fn briefs(applier: &Applier, AskBriefs { deployments }: AskBriefs) -> Result<Briefs, ControlError> {
    if deployments.len() > MAX_BRIEFS {
        return Err(ControlError::Bad("deployments", format!("{} of at most {MAX_BRIEFS}", deployments.len())));
    }
    let brief = |deployment: DeploymentId| {
        let (version, problem, refused) = applier.status(deployment);
        let Some(found) = applier.host.deployment(&deployment.to_string()) else {
            let problem = Some(problem?);
            return Some(Brief { deployment, version: None, problem, refused, live: 0, requests: Vec::new() });
        };
        let (_, does_not_load) = found.version();
        let buckets = found.buckets();
        let recent = buckets.get(buckets.len().saturating_sub(BRIEF_BUCKETS)..).unwrap_or_default();
        Some(Brief {
            deployment,
            version,
            problem: problem.or(does_not_load.map(|problem| problem.to_string())),
            refused,
            live: u32::try_from(found.live_objects()).unwrap_or(u32::MAX),
            requests: recent.iter().map(|bucket| (bucket.at_ms, bucket.requests)).collect(),
        })
    };
    Ok(Briefs { briefs: deployments.into_iter().filter_map(brief).collect() })
}

fn status(applier: &Applier, named: DeploymentId) -> Result<DeploymentStatus, ControlError> {
    let (version, problem, refused) = applier.status(named);
    let Some(deployment) = applier.host.deployment(&named.to_string()) else {
        // Its code has not come yet.
        let problem = Some(problem.ok_or(ControlError::NotHere)?);
        return Ok(DeploymentStatus { problem, ..DeploymentStatus::default() });
    };
    let (_, does_not_load) = deployment.version();
    Ok(DeploymentStatus {
        version,
        problem: problem.or(does_not_load.map(|problem| problem.to_string())),
        refused,
        live: u32::try_from(deployment.live_objects()).unwrap_or(u32::MAX),
        engines: u32::try_from(deployment.engines().len()).unwrap_or(u32::MAX),
        memory_bytes: deployment.engines_memory_bytes(),
        buckets: deployment.buckets().into_iter().map(bucket).collect(),
    })
}

fn bucket(bucket: objects::host::stats::Bucket) -> Bucket {
    let objects::host::stats::Bucket { at_ms, requests, errors, cpu_us, latencies } = bucket;
    Bucket { at_ms, requests, errors, cpu_us, latencies: latencies.to_vec() }
}

/// Which objects are asked for.
struct Asked {
    namespace: Option<NamespaceId>,
    after: Option<(NamespaceId, [u8; 32])>,
    name: Option<String>,
    prefix: String,
    limit: usize,
    is_live: bool,
}

impl Asked {
    fn read(query: &Query<'_>) -> Result<Self, ControlError> {
        let after = |text: String| match text.split_once('/') {
            Some((namespace, object)) => Ok((id("after", namespace)?, object_id(object)?)),
            None => Err(ControlError::Bad("after", shortened(&text))),
        };
        Ok(Self {
            namespace: query.parse("namespace")?,
            after: query.get("after")?.map(after).transpose()?,
            name: query.get("name")?,
            prefix: query.get("prefix")?.unwrap_or_default().to_ascii_lowercase(),
            limit: query.parse::<u32>("limit")?.unwrap_or(MAX_OBJECTS).clamp(1, MAX_OBJECTS) as usize,
            is_live: query.parse::<bool>("live")?.unwrap_or(false),
        })
    }

    /// Of one class, in order; at most so many.
    fn of_class(
        &self,
        deployment: &Deployment,
        class: &PlannedClass,
        most: usize,
    ) -> Result<Vec<ObjectDetail>, ControlError> {
        let after = self.after.filter(|(namespace, _)| *namespace == class.namespace).map(|(_, id)| id);
        let page = Page { after, prefix: self.prefix.clone(), limit: most };
        let namespace = class.namespace.uuid().into_bytes();
        if let Some(name) = &self.name {
            let id = id_from_name(&class.key, name).0;
            let found = if page.wants(&id) { deployment.object(ObjectKey { namespace, id })? } else { None };
            return Ok(found.into_iter().filter(|found| found.is_live || !self.is_live).collect());
        }
        if self.is_live { Ok(deployment.list_live(namespace, &page)?) } else { Ok(deployment.list(namespace, &page)?) }
    }
}

async fn list(deployment: Arc<Deployment>, planned: Planned, asked: Asked) -> Result<Objects, ControlError> {
    let mut classes = planned.classes;
    classes.retain(|class| {
        asked.namespace.is_none_or(|wanted| class.namespace == wanted)
            && asked.after.is_none_or(|(last, _)| class.namespace >= last)
    });
    classes.sort_by_key(|class| class.namespace);
    let limit = asked.limit;
    let listed = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        for class in &classes {
            // One more than is shown says whether there are more.
            let most = (limit + 1).saturating_sub(found.len());
            if most > 0 {
                found.extend(asked.of_class(&deployment, class, most)?);
            }
        }
        Ok::<_, ControlError>(found)
    });
    let mut objects: Vec<ObjectStatus> = listed.await??.into_iter().map(shown).collect();
    let more = objects.len() > limit;
    objects.truncate(limit);
    Ok(Objects { objects, more })
}

async fn object_status(deployment: Arc<Deployment>, key: ObjectKey) -> Result<ObjectStatus, ControlError> {
    let found = tokio::task::spawn_blocking(move || deployment.object(key)).await??;
    found.map(shown).ok_or(ControlError::NotFound("such object"))
}

fn namespace_of(key: &ObjectKey) -> NamespaceId {
    NamespaceId::from_uuid(Uuid::from_bytes(key.namespace))
}

fn shown(detail: ObjectDetail) -> ObjectStatus {
    ObjectStatus {
        namespace: namespace_of(&detail.key),
        id: hex::encode(detail.key.id),
        name: detail.name,
        is_live: detail.is_live,
        bytes: detail.bytes,
        last_used_ms: detail.last_used_ms,
        alarm_at_ms: detail.alarm_at_ms,
        sockets: u32::try_from(detail.sockets).unwrap_or(u32::MAX),
        running: u32::try_from(detail.running).unwrap_or(u32::MAX),
        is_quarantined: detail.is_quarantined,
    }
}

/// Which lines are wanted.
struct Wanted {
    namespace: Option<NamespaceId>,
    object: Option<[u8; 32]>,
}

impl Wanted {
    fn takes(&self, object: Option<&ObjectKey>) -> bool {
        self.namespace.is_none_or(|wanted| object.is_some_and(|key| namespace_of(key) == wanted))
            && self.object.is_none_or(|wanted| object.is_some_and(|key| key.id == wanted))
    }
}

async fn console(deployment: &Deployment, query: &Query<'_>) -> Result<Console, ControlError> {
    let wanted = Wanted {
        namespace: query.parse("namespace")?,
        object: query.get("object")?.map(|text| object_id(&text)).transpose()?,
    };
    let wait = Duration::from_millis(query.parse::<u64>("wait_ms")?.unwrap_or(0).min(MAX_WAIT_MS));
    let deadline = Instant::now() + wait;
    let mut after = query.parse::<u64>("after")?.unwrap_or(0);
    let kept = deployment.console();
    let mut news = kept.subscribe();
    // Numbers begin anew with the agent.
    if kept.since(0, usize::MAX).lines.last().is_none_or(|last| last.seq < after) {
        after = 0;
    }
    let mut told = Console { lines: Vec::new(), after, lost: 0 };
    loop {
        let since = kept.since(told.after, LOOKED_THROUGH);
        tell(&mut told, since, &wanted)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if !told.lines.is_empty() || left.is_zero() {
            return Ok(told);
        }
        // That there is news is enough, also if some was missed: all is read again.
        drop(tokio::time::timeout(left, news.recv()).await);
    }
}

/// As many lines as there is room for; [`Console::after`] is before the first that is left out.
fn tell(told: &mut Console, Since { lines, lost }: Since, wanted: &Wanted) -> Result<(), ControlError> {
    told.lost += lost;
    told.after += lost;
    let mut bytes = 0;
    for kept in lines {
        if wanted.takes(kept.line.object.as_ref()) {
            let line = said(&kept);
            // In JSON a character may be six; a comma comes behind.
            bytes += serde_json::to_string(&line)?.len() + 1;
            if told.lines.len() >= MAX_LINES as usize || (bytes > LINES_BYTES && !told.lines.is_empty()) {
                break;
            }
            told.lines.push(line);
        }
        told.after = kept.seq;
    }
    Ok(())
}

fn said(kept: &Kept) -> Line {
    Line {
        seq: kept.seq,
        at_ms: kept.line.at_ms,
        level: word(kept.line.level).to_owned(),
        object: kept.line.object.map(|key| LineOf {
            namespace: namespace_of(&key),
            id: hex::encode(key.id),
            name: kept.line.name.clone(),
        }),
        text: kept.line.text.clone(),
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Log => "log",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error | Level::Uncaught => "error",
    }
}

#[cfg(test)]
mod tests {
    use objects::host::deployment::ConsoleLine;

    use super::*;

    #[test]
    fn queries_are_read() {
        let query = Query("namespace=a&after=&limit=7&live=true&name=%C3%A4%20/b");
        let get = |name: &'static str| query.get(name).expect("is read");
        assert_eq!((get("namespace").as_deref(), get("after"), get("none")), (Some("a"), None, None));
        assert_eq!(get("name").as_deref(), Some("ä /b"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
        assert_eq!(query.parse::<u32>("limit").expect("a number"), Some(7));
        assert!(matches!(query.parse::<NamespaceId>("namespace"), Err(ControlError::Bad("namespace", _))));
        assert!(object_id(&"0".repeat(64)).is_ok());
        let after = format!("after={}%2F{}", NamespaceId::new(), "0".repeat(64));
        assert_eq!(Asked::read(&Query(&after)).expect("is read").after.map(|(_, id)| id), Some([0; 32]));
        assert!(Asked::read(&Query("after=1")).is_err());
        for bad in ["", "0", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            assert!(object_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_of_one_object() {
        let namespace = NamespaceId::new();
        let (one, other) = (key(namespace, [1; 32]), key(namespace, [2; 32]));
        let all = Wanted { namespace: None, object: None };
        assert!(all.takes(None) && all.takes(Some(&one)));
        let some = Wanted { namespace: Some(namespace), object: Some([1; 32]) };
        assert!(some.takes(Some(&one)) && !some.takes(Some(&other)) && !some.takes(None));
        let class = Wanted { namespace: Some(NamespaceId::new()), object: None };
        assert!(!class.takes(Some(&one)));
    }

    #[test]
    fn lines_that_have_no_room_come_with_the_next_answer() {
        let line = |seq| {
            let text = "\u{1}".repeat(16 * 1024);
            let (deployment, level) = (String::new(), Level::Log);
            let line = ConsoleLine { deployment, object: None, class: None, name: None, level, text, at_ms: 0 };
            Arc::new(Kept { seq, line })
        };
        let all = Wanted { namespace: None, object: None };
        let mut seen = Vec::new();
        let mut told = Console { lines: Vec::new(), after: 0, lost: 0 };
        while told.after < 63 {
            let after = told.after.max(3);
            told.lines.clear();
            let lost = after - told.after;
            tell(&mut told, Since { lines: (after + 1..=63).map(line).collect(), lost }, &all).expect("is told");
            let bytes = serde_json::to_string(&told).expect("is JSON").len();
            assert!(bytes <= MAX_ANSWER_BYTES, "{bytes} bytes");
            assert_eq!(told.lines.last().map(|line| line.seq), Some(told.after), "the next question goes on here");
            seen.extend(told.lines.iter().map(|line| line.seq));
        }
        assert_eq!(seen, (4..=63).collect::<Vec<_>>());
    }
}
