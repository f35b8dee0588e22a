use std::sync::Arc;

use super::*;
use crate::{Clock, Settings};

type Order = Arc<Mutex<Vec<(Urgency, usize)>>>;

/// Notes when it was made.
struct Note {
    urgency: Urgency,
    number: usize,
    order: Order,
}

#[async_trait]
impl Write for Note {
    type Out = ();
    fn urgency(&self) -> Urgency {
        self.urgency
    }
    async fn apply(&self, _: &Tx, _: &mut Vec<Told>, _: Timestamp) -> std::result::Result<(), StoreError> {
        self.order.lock().push((self.urgency, self.number));
        Ok(())
    }
}

/// Submits `awaited` and `reports` before the ledger runs, then runs it until `stop`; the order in which they were made.
async fn made(awaited: usize, reports: usize) -> Vec<(Urgency, usize)> {
    let directory = tempfile::tempdir().unwrap();
    let store = testkit::sqlite(directory.path()).await;
    let services = Services::new(store, Clock::system(), Settings::default());
    let order = Order::default();
    let mut pending = Vec::new();
    for (urgency, count) in [(Urgency::Report, reports), (Urgency::Awaited, awaited)] {
        for number in 0..count {
            let write = Note { urgency, number, order: order.clone() };
            pending.push(services.ledger().submit(write).await.unwrap());
        }
    }
    let stop = CancellationToken::new();
    // What was submitted before is committed still.
    stop.cancel();
    run(services, stop).await;
    for write in pending {
        write.committed().await.unwrap();
    }
    Arc::into_inner(order).unwrap().into_inner()
}

#[tokio::test]
async fn what_is_waited_for_goes_before_reports_that_came_earlier() {
    let order = made(1, 500).await;
    assert_eq!(order.first(), Some(&(Urgency::Awaited, 0)));
    let reports: Vec<usize> = order.iter().skip(1).map(|(_, number)| *number).collect();
    assert_eq!(reports, (0..500).collect::<Vec<_>>(), "in the order in which they came");
}

#[tokio::test]
async fn a_flood_of_what_is_waited_for_leaves_reports_their_share() {
    let order = made(1_000, 1_000).await;
    let group = &order[..BATCH];
    let share = group.iter().filter(|(urgency, _)| *urgency == Urgency::Report).count();
    assert_eq!(share, REPORTS);
    for urgency in [Urgency::Awaited, Urgency::Report] {
        let numbers = order.iter().filter(|(of, _)| *of == urgency).map(|(_, number)| *number);
        assert!(numbers.eq(0..1_000), "each queue keeps its order");
    }
}
