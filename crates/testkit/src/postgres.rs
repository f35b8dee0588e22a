//! One private PostgreSQL for each test process: on a Unix socket in a directory of its own, gone when the process is.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, Database};
use store::{Store, StoreOptions};
use tokio::sync::OnceCell;

const START_LIMIT: Duration = Duration::from_secs(60);
const TEMPLATE: &str = "berth_template";

/// How careful the server is with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing is flushed: for tests.
    None,
    /// As in production: for figures.
    Full,
}

/// A running PostgreSQL. It ends when this process does, however that happens: a shell waits for the end of its standard
/// input, which the kernel closes, and then stops the server and removes its files.
#[derive(Debug)]
pub struct Postgres {
    directory: PathBuf,
    bin: PathBuf,
    keeper: Child,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            eprintln!("cannot wait for PostgreSQL's end: {error}");
        }
    }
}

/// Where Debian has the newest, else where the PATH has one.
fn binaries() -> PathBuf {
    let has_all = |bin: &PathBuf| ["initdb", "postgres", "pg_isready"].iter().all(|name| bin.join(name).is_file());
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).filter(has_all).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = || std::env::split_paths(&path).find(has_all);
    found.pop().or_else(in_path).expect("PostgreSQL is needed for these tests: apt-get install postgresql")
}

/// Whether it takes connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Yes,
    No,
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.trim_ascii() == b"0"
}

impl Postgres {
    /// Starts one; panics with the server's log if it does not come up.
    pub fn start(durability: Durability) -> Self {
        let directory = tempfile::Builder::new().prefix("berth-pg-").tempdir_in("/tmp").expect("a directory").keep();
        let bin = binaries();
        // PostgreSQL refuses to run as root. setpriv replaces itself, so that the shell's child is the server.
        let run_as = if is_root() { "setpriv --reuid=postgres --regid=postgres --clear-groups" } else { "" };
        let own = if is_root() { "chown postgres:postgres \"$dir\"" } else { ":" };
        let sync = match durability {
            Durability::None => "-c fsync=off -c synchronous_commit=off -c full_page_writes=off",
            Durability::Full => "",
        };
        // Ctrl+C at a terminal goes to the whole group: it must not end the shell before its work is done.
        let script = format!(
            "trap '' INT HUP TERM; cd /; {own}; {run_as} \"$bin/initdb\" -D \"$dir/data\" -U berth -A trust -E UTF8 --locale=C -N >\"$dir/initdb.log\" 2>&1
             serve() {{ {run_as} \"$bin/postgres\" -D \"$dir/data\" -k \"$dir\" -c listen_addresses= -c max_connections=300 \
             -c shared_buffers=64MB {sync} >>\"$dir/server.log\" 2>&1 & server=$!; }}
             serve
             while read -r word; do case $word in
             stop) kill -QUIT $server; wait $server;;
             start) serve;;
             esac; done
             kill -QUIT $server; wait $server; rm -rf \"$dir\""
        );
        let keeper = Command::new("/bin/sh")
            .args(["-c", &script])
            .env("dir", &directory)
            .env("bin", &bin)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell runs");
        let this = Self { directory, bin, keeper };
        this.wait_until(Answers::Yes);
        this
    }

    fn tell(&mut self, word: &str) {
        let input = self.keeper.stdin.as_mut().expect("the shell listens");
        writeln!(input, "{word}").expect("the shell reads");
    }

    /// Stops it at once, as a crash would: connections break, nothing is tidied up.
    pub fn stop(&mut self) {
        self.tell("stop");
        self.wait_until(Answers::No);
    }

    /// Starts it on what it left.
    pub fn start_again(&mut self) {
        self.tell("start");
        self.wait_until(Answers::Yes);
    }

    fn answers(&self) -> Answers {
        let asked = Command::new(self.bin.join("pg_isready"))
            .args(["-q", "-U", "berth", "-d", "postgres", "-h"])
            .arg(&self.directory)
            .status();
        if asked.is_ok_and(|status| status.success()) { Answers::Yes } else { Answers::No }
    }

    fn wait_until(&self, wanted: Answers) {
        let began = Instant::now();
        loop {
            if self.answers() == wanted {
                return;
            }
            if began.elapsed() > START_LIMIT {
                let log = |name: &str| std::fs::read_to_string(self.directory.join(name)).unwrap_or_default();
                panic!("PostgreSQL did not come up or stop:\n{}{}", log("initdb.log"), log("server.log"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes a database, without a schema; returns its address.
    pub async fn create(&self, database: &str) -> String {
        execute(self, &format!("create database {database}")).await;
        self.url(database)
    }

    /// The address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://berth@localhost/{database}?host={}", self.directory.display())
    }
}

struct Shared {
    postgres: Postgres,
    template: OnceCell<()>,
}

static SHARED: OnceLock<Shared> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The address of a new, empty database with this build's schema.
pub async fn database() -> String {
    let start = || {
        SHARED.get_or_init(|| Shared { postgres: Postgres::start(Durability::None), template: OnceCell::new() });
    };
    tokio::task::spawn_blocking(start).await.expect("PostgreSQL starts");
    let shared = SHARED.get().expect("just started");
    let postgres = &shared.postgres;
    shared
        .template
        .get_or_init(|| async {
            execute(postgres, &format!("create database {TEMPLATE}")).await;
            let options = StoreOptions { url: postgres.url(TEMPLATE), max_connections: 2 };
            let store = Store::connect(&options).await.expect("the template's database");
            store.migrate().await.expect("migrations run");
            store.close().await.expect("connections close");
        })
        .await;
    let name = format!("berth_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    execute(postgres, &format!("create database {name} template {TEMPLATE}")).await;
    postgres.url(&name)
}

/// The address of a new, empty database without a schema.
pub async fn bare_database() -> String {
    database().await;
    let postgres = &SHARED.get().expect("just started").postgres;
    let name = format!("bare_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    execute(postgres, &format!("create database {name}")).await;
    postgres.url(&name)
}

async fn execute(postgres: &Postgres, sql: &str) {
    let conn = Database::connect(postgres.url("postgres")).await.expect("PostgreSQL answers");
    conn.execute_unprepared(sql).await.expect("PostgreSQL does it");
    conn.close().await.expect("the connection closes");
}
