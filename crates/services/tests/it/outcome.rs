//! PostgreSQL's connection is lost at the commit, before or after PostgreSQL heard of it: what is answered is what is there.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
};

use api::reservations::{LabelsAsk, NewReservation};
use domain::{people::Role, reservations::Reservation, sessions::Session};
use futures_util::future::join_all;
use jiff::SignedDuration;
use services::{
    Call, idempotency,
    page::PageAsk,
    reservations::{self, Ask, ListAsk, Whose},
};
use testkit::World;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
};

/// Where the next commit's connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Cut {
    Nowhere,
    /// PostgreSQL does not hear of it.
    BeforeCommit,
    /// PostgreSQL did it, and its answer is lost.
    AfterCommit,
}

/// Stands between a store and PostgreSQL.
#[derive(Debug, Default)]
struct Cutter {
    next: AtomicU8,
    cuts: AtomicU32,
}

impl Cutter {
    fn arm(&self, cut: Cut) {
        self.next.store(cut as u8, Ordering::SeqCst);
    }
    fn cut(&self, message: &[u8]) -> Cut {
        // A simple query's text ends with a zero.
        if !message.windows(7).any(|text| text == b"COMMIT\0") {
            return Cut::Nowhere;
        }
        let armed = self.next.swap(Cut::Nowhere as u8, Ordering::SeqCst);
        let cut = if armed == Cut::BeforeCommit as u8 {
            Cut::BeforeCommit
        } else if armed == Cut::AfterCommit as u8 {
            Cut::AfterCommit
        } else {
            return Cut::Nowhere;
        };
        self.cuts.fetch_add(1, Ordering::SeqCst);
        cut
    }

    async fn pass(self: Arc<Self>, mut store: TcpStream, socket: PathBuf) -> std::io::Result<()> {
        let mut postgres = UnixStream::connect(socket).await?;
        let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                count = store.read(&mut asked) => match count? {
                    0 => return Ok(()),
                    count => match self.cut(&asked[..count]) {
                        Cut::Nowhere => postgres.write_all(&asked[..count]).await?,
                        Cut::BeforeCommit => return Ok(()),
                        Cut::AfterCommit => {
                            postgres.write_all(&asked[..count]).await?;
                            // Its answer comes after it was done.
                            postgres.read_exact(&mut answered[..1]).await?;
                            return Ok(());
                        }
                    },
                },
                count = postgres.read(&mut answered) => match count? {
                    0 => return Ok(()),
                    count => store.write_all(&answered[..count]).await?,
                },
            }
        }
    }

    /// A database behind it.
    async fn world() -> (Arc<Self>, World) {
        let direct = testkit::postgres::database().await;
        let (base, directory) = direct.split_once("?host=").expect("a socket's directory");
        let socket = Path::new(directory).join(".s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let url = format!("{}?sslmode=disable", base.replace("localhost", &at.to_string()));
        let cutter = Arc::new(Self::default());
        let at_work = cutter.clone();
        tokio::spawn(async move {
            while let Ok((store, _)) = listener.accept().await {
                tokio::spawn(at_work.clone().pass(store, socket.clone()));
            }
        });
        (cutter, World::new(testkit::connect(url).await).await)
    }
}

async fn booked(world: &World, call: &Call) -> Vec<Reservation> {
    let page = PageAsk { limit: Some(500), cursor: None };
    let ask = ListAsk { whose: Whose::Everybodys, page, ..ListAsk::default() };
    reservations::list(&world.services, call, &ask).await.expect("reads").items
}

fn ask(world: &World, labels: &str, start_h: i64) -> Ask {
    let start = world.clock.now() + SignedDuration::from_hours(start_h);
    let ask = NewReservation {
        labels: Some(LabelsAsk::Text(labels.to_owned())),
        start: Some(start.to_string()),
        duration_s: Some(3_600),
        ..NewReservation::default()
    };
    Ask::try_from(ask).expect("a good request")
}

/// Groups of bookings by labels: were one made that its asker is not told of, they would get another machine too.
#[tokio::test(flavor = "multi_thread")]
async fn a_booking_is_made_once_and_told() {
    const AT_ONCE: usize = 12;
    let (cutter, world) = Cutter::world().await;
    let ada = world.person("Ada", Role::Admin).await;
    world.machines("rack", 2 * AT_ONCE, "kind=rack").await;
    let cuts = [Cut::AfterCommit, Cut::BeforeCommit, Cut::AfterCommit];
    for (hour, cut) in (1..).zip(cuts) {
        cutter.arm(cut);
        let ask = ask(&world, "kind=rack", hour * 2);
        let answers = join_all((0..AT_ONCE).map(|_| reservations::create(&world.services, &ada, &ask))).await;
        for answer in answers {
            answer.expect("booked");
        }
    }
    assert_eq!(cutter.cuts.load(Ordering::SeqCst), 3);
    let booked = booked(&world, &ada).await;
    assert_eq!(booked.len(), AT_ONCE * cuts.len());
    let sessions: Vec<&Session> = booked.iter().flat_map(|reservation| &reservation.sessions).collect();
    assert_eq!(sessions.len(), booked.len());
    let events = store::events::after(&world.store, 0, 1_000).await.expect("reads");
    assert_eq!(events.len(), booked.len(), "one event each");
}

/// A request with a key whose answer was given up: what it made stays bound to the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_given_back_keeps_what_was_made() {
    let (_, world) = Cutter::world().await;
    let ada = world.person("Ada", Role::Admin).await;
    world.machines("rack", 1, "kind=rack").await;
    let claim = |content: &'static str| idempotency::claim(&world.services, &ada, "key", content);
    let idempotency::Decision::Work(held) = claim("a").await.expect("claims") else { panic!("it is new") };
    let made = reservations::create(&world.services, &held.call(), &ask(&world, "kind=rack", 1)).await.expect("booked");
    held.release().await.expect("writes");
    match claim("a").await.expect("claims") {
        idempotency::Decision::Remake { made: known, .. } => assert_eq!(known, made.id.uuid()),
        other => panic!("{other:?}"),
    }
}
