//! A tenant with people, hosts and machines.

use domain::{
    access::{Actor, Permit},
    deployments::ObjectOffer,
    hosts::{HostIntent, HostLink},
    ids::{HostId, MachineId, TenantId, TransactionId},
    instructions::TransactionState,
    labels::Labels,
    machines::{MachineKind, MachineLimits},
    notebooks::NotebookOffer,
    people::Role,
    tokens::Scope,
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, Statement, Value};
use services::{Call, Clock, Services, Settings, Via, certificates::ServerKey};
use store::{Store, machines::Offer, people::NewPerson};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// When a test's clock begins.
pub const BEGINNING: &str = "2026-03-02T09:00:00Z";

/// A tenant on one database, with services whose clock stands still until the test moves it.
#[derive(Debug, Clone)]
pub struct World {
    pub store: Store,
    pub services: Services,
    pub clock: Clock,
    pub tenant: TenantId,
    /// The same for every server on this database.
    pub server_key: ServerKey,
}

impl World {
    pub async fn new(store: Store) -> Self {
        let clock = Clock::manual(BEGINNING.parse().expect("a time"));
        Self::with_clock(store, clock).await
    }

    pub async fn with_clock(store: Store, clock: Clock) -> Self {
        let tx = store.begin().await.expect("begins");
        let tenant = store::tenants::create(&tx, "test", clock.now()).await.expect("a tenant");
        tx.commit().await.expect("commits");
        Self::of(store, clock, tenant)
    }

    /// A tenant that is there already.
    pub fn of(store: Store, clock: Clock, tenant: TenantId) -> Self {
        let server_key = ServerKey::generate().expect("random numbers");
        let services = Self::services(&store, &clock, &server_key);
        Self { store, services, clock, tenant, server_key }
    }

    /// The same database, seen by another server: nothing in memory is shared.
    pub fn restarted(&self) -> Self {
        let services = Self::services(&self.store, &self.clock, &self.server_key);
        Self { services, ..self.clone() }
    }

    fn services(store: &Store, clock: &Clock, server_key: &ServerKey) -> Services {
        let settings = Settings { server_key: Some(server_key.clone()), ..Settings::default() };
        let services = Services::new(store.clone(), clock.clone(), settings);
        // Ends with the test's runtime, as a killed server would.
        tokio::spawn(services::ledger::run(services.clone(), CancellationToken::new()));
        services
    }

    pub fn permit(&self) -> Permit {
        Permit::system(self.tenant)
    }

    /// A new person of that role, and the call with which they ask.
    pub async fn person(&self, name: &str, role: Role) -> Call {
        let email = format!("{}@example.test", name.to_lowercase());
        let new = NewPerson { email, name: name.to_owned(), role };
        let tx = self.store.begin().await.expect("begins");
        let person = store::people::create(&tx, &self.permit(), new, self.clock.now()).await.expect("writes");
        let person = person.expect("the address is free").id;
        tx.commit().await.expect("commits");
        let actor = Actor { tenant: self.tenant, person, role, scope: Scope::All };
        Call { actor, person_name: name.to_owned(), request_id: None, via: Via::Person, held: None }
    }

    async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) {
        let tx = self.store.begin().await.expect("begins");
        let statement = Statement::from_sql_and_values(tx.conn().get_database_backend(), sql, values);
        tx.conn().execute_raw(statement).await.expect("writes");
        tx.commit().await.expect("commits");
    }

    /// A host that is online and in service, as if it had enrolled.
    pub async fn host(&self, name: &str) -> HostId {
        let id = HostId::new();
        let now = self.clock.now().as_millisecond();
        self.execute(
            "insert into hosts (id, tenant_id, name, sort_name, labels, intent, link, link_since_ms, enrolled_ms, \
             certificate_serial, certificate_expires_ms) \
             values ($1, $2, $3, $7, '{}', 'in-service', 'online', $4, $4, $5, $6)",
            [
                id.uuid().into(),
                self.tenant.uuid().into(),
                name.into(),
                now.into(),
                Uuid::now_v7().to_string().into(),
                (now + 86_400_000).into(),
                domain::names::sort_key(name).into(),
            ],
        )
        .await;
        id
    }

    /// What the host has for notebooks from now on.
    pub async fn offer_notebooks(&self, host: HostId, offer: Option<NotebookOffer>) {
        let offer = offer.map(|offer| serde_json::to_string(&offer).expect("plain data"));
        self.execute("update hosts set notebooks = $1 where id = $2", [offer.into(), host.uuid().into()]).await;
    }

    /// The host runs objects from now on, or none any more.
    pub async fn offer_objects(&self, host: HostId, offer: Option<ObjectOffer>) {
        let offer = offer.map(|offer| serde_json::to_string(&offer).expect("plain data"));
        self.execute("update hosts set objects = $1 where id = $2", [offer.into(), host.uuid().into()]).await;
    }

    pub async fn set_intent(&self, host: HostId, intent: HostIntent) {
        self.execute("update hosts set intent = $1 where id = $2", [intent.word().into(), host.uuid().into()]).await;
    }

    pub async fn set_link(&self, host: HostId, link: HostLink) {
        let now = self.clock.now().as_millisecond();
        let values = [link.word().into(), now.into(), host.uuid().into()];
        self.execute("update hosts set link = $1, link_since_ms = $2 where id = $3", values).await;
    }

    /// A sandbox on `host` (whose name is `host_name`) with labels `k=v,k=v`; its name is `HOST/NAME`.
    pub async fn machine(&self, host: HostId, host_name: &str, name: &str, labels: &str) -> MachineId {
        let labels: Labels = labels.parse().expect("labels");
        let limits = MachineLimits { cpu_millis: 1_000, memory_bytes: 1 << 30, pids: 256, disk_bytes: 1 << 30 };
        let offer = Offer { local_name: name.to_owned(), kind: MachineKind::Sandbox, labels, limits };
        let tx = self.store.begin().await.expect("begins");
        let id = store::machines::offer(&tx, &self.permit(), host, host_name, &offer, self.clock.now()).await;
        tx.commit().await.expect("commits");
        id.expect("writes")
    }

    /// `count` machines `HOST/0`, `HOST/1`, … on a new host.
    pub async fn machines(&self, host_name: &str, count: usize, labels: &str) -> Vec<MachineId> {
        let host = self.host(host_name).await;
        let mut ids = Vec::with_capacity(count);
        for at in 0..count {
            ids.push(self.machine(host, host_name, &at.to_string(), labels).await);
        }
        ids
    }

    /// The open instructions, oldest first, as their hosts would find them.
    pub async fn open_work(&self) -> Vec<(TransactionId, domain::instructions::Work)> {
        let conn = self.store.read();
        let statement = Statement::from_string(
            conn.get_database_backend(),
            "select id, work from transactions where state in ('waiting', 'offered', 'claimed', 'running') order by id",
        );
        let rows = conn.query_all_raw(statement).await.expect("reads");
        rows.iter()
            .map(|row| {
                let id: Uuid = row.try_get("", "id").expect("an id");
                let work: String = row.try_get("", "work").expect("the work");
                (TransactionId::from_uuid(id), serde_json::from_str(&work).expect("work as it was stored"))
            })
            .collect()
    }

    /// What the host's report of an instruction's end leaves in the database.
    pub async fn finish_work(&self, id: TransactionId, state: TransactionState, cause: Option<&str>) {
        let ended: Timestamp = self.clock.now();
        self.execute(
            "update transactions set state = $1, cause = $2, ended_ms = $3 where id = $4",
            [state.word().into(), cause.into(), ended.as_millisecond().into(), id.uuid().into()],
        )
        .await;
    }
}
