//! Sandboxes that work.

use agent::environments::{Exit, StepEvent};

use crate::support::{Bench, assert_clean};

#[tokio::test]
async fn from_nothing_to_clean_again() {
    let bench = Bench::sandbox("");
    let began = std::time::Instant::now();
    let running = bench.prepare().await;
    eprintln!("prepared in {:?}: {}", began.elapsed(), running.isolation);
    let began = std::time::Instant::now();
    let ran = bench.sh(&running, "id; echo out; echo err >&2; pwd; ls -la / /home; mount | head -50; exit 7").await;
    eprintln!("ran in {:?}", began.elapsed());
    eprintln!("{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(ran.exit, Exit::Code(7));
    let report = bench.revert(&running).await;
    eprintln!("{report:#?}");
    assert_clean(&report);
}
