//! What whoever runs a host asks of it.

use objects::host::log::Page;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    Test,
    hosted::{Hosted, Setting, eventually, write_project},
};

pub const TESTS: &[Test] = &[
    ("managing::a_host_has_as_many_files_open_as_it_may", open_files),
    ("managing::an_object_that_is_deleted_begins_anew", deleted),
    ("managing::objects_are_listed_with_what_they_are_at", listed),
    ("managing::a_namespace_goes_with_its_deployment", namespace),
    ("managing::requests_and_lines_are_counted_and_kept", counted),
];

const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Obj extends DurableObject {
  async fetch(request) {
    const what = new URL(request.url).pathname.split("/")[2];
    if (what === "socket") {
      const [client, server] = Object.values(new WebSocketPair());
      this.ctx.acceptWebSocket(server);
      return new Response(null, { status: 101, webSocket: client });
    }
    if (what === "fail") throw new Error("no");
    if (what === "idle") return new Response("idle");
    if (what === "loop") for (;;);
    if (what === "alarm") await this.ctx.storage.setAlarm(Date.now() + 3_600_000);
    const n = ((await this.ctx.storage.get("n")) ?? 0) + 1;
    await this.ctx.storage.put("n", n);
    console.log("counted", n);
    return new Response(`${n}`);
  }
  alarm() {}
}
export default { fetch: (request, env) => env.Obj.getByName(new URL(request.url).pathname.split("/")[1]).fetch(request) };
"#;

fn start() -> (tempfile::TempDir, Hosted, [u8; 16]) {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Obj"], MODULE);
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), Setting::default());
    let project = objects::project::Project::read(directory.path()).expect("is read");
    let version = project.into_version(1, &objects::project::Secret::of([7; 32]), Default::default());
    (directory, hosted, version.namespaces[0].uid)
}

/// The soft limit on open files of this process; what it was is put back.
struct OpenFiles(Rlimit);

impl OpenFiles {
    fn lowered_to(count: u64) -> Self {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: before.maximum }).expect("is lowered");
        OpenFiles(before)
    }
}

impl Drop for OpenFiles {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, Rlimit { current: self.0.current, maximum: self.0.maximum }).expect("is put back");
    }
}

fn open_files() {
    let _limit = OpenFiles::lowered_to(96);
    let (_kept, hosted, _) = start();
    for number in 0..150 {
        assert_eq!(hosted.get(&format!("/{number}")), (200, "1".to_owned()), "object {number}");
    }
    assert_eq!(hosted.deployment.live_objects(), 150);
}

fn all() -> Page {
    Page { limit: 100, ..Page::default() }
}

fn deleted() {
    let (kept, hosted, namespace) = start();
    assert_eq!(hosted.get("/a/alarm"), (200, "1".to_owned()));
    assert_eq!(hosted.get("/a"), (200, "2".to_owned()));
    assert_eq!(hosted.get("/b"), (200, "1".to_owned()));
    let found = hosted.deployment.list(namespace, &all()).expect("is listed");
    let a = found.iter().find(|object| object.name.as_deref() == Some("a")).expect("is there").clone();
    assert!(a.is_live && a.alarm_at_ms.is_some() && a.bytes > 0 && a.last_used_ms.is_some(), "{a:?}");
    assert_eq!(hosted.deployment.object(a.key).expect("is read").map(|object| object.key), Some(a.key));
    let socket = hosted.run(async {
        let (socket, _) =
            tokio_tungstenite::connect_async(format!("ws://{}/a/socket", hosted.address)).await.expect("is let in");
        hosted.deployment.delete_object(a.key).await.expect("is deleted");
        socket
    });
    let heard = hosted.run(async {
        tokio::time::timeout(crate::hosted::LIMIT, futures_util::StreamExt::collect::<Vec<_>>(socket)).await
    });
    let heard = heard.expect("is closed");
    assert!(matches!(heard.first(), Some(Ok(tokio_tungstenite::tungstenite::Message::Close(_)))), "{heard:?}");
    assert!(hosted.deployment.object(a.key).expect("is read").is_none(), "nothing is left of it");
    assert_eq!(hosted.get("/a"), (200, "1".to_owned()), "a new one");
    // While it is used: each that asks is told of one life or the next, none of both.
    let answers = hosted.run(async {
        let asks = (0..40).map(|number| {
            let deployment = &hosted.deployment;
            async move {
                if number % 8 == 7 {
                    deployment.delete_object(a.key).await.expect("is deleted");
                    return None;
                }
                Some(crate::hosted::ask(hosted.address, "GET", "/a", String::new()).await)
            }
        });
        futures_util::future::join_all(asks).await
    });
    for (status, text) in answers.into_iter().flatten() {
        assert!(status == 200 || text.contains("deleted"), "{status} {text}");
    }
    hosted.run(hosted.deployment.delete_object(a.key)).expect("is deleted");
    drop(hosted);
    let hosted = Hosted::start(kept.path(), &kept.path().join("state"), Setting::default());
    assert_eq!(hosted.get("/a"), (200, "1".to_owned()), "also after a start");
    assert_eq!(hosted.get("/b"), (200, "2".to_owned()));
    hosted
        .run(hosted.deployment.delete_object(objects::host::log::ObjectKey { namespace: [0; 16], id: [0; 32] }))
        .expect_err("is nobody's");
}

fn listed() {
    let (_kept, hosted, namespace) = start();
    for number in 0..12 {
        assert_eq!(hosted.get(&format!("/{number}")).0, 200);
    }
    assert_eq!(hosted.get("/lives/idle").0, 200);
    let found = hosted.deployment.list(namespace, &all()).expect("is listed");
    assert_eq!(found.len(), 13, "one has stored nothing and lives");
    assert!(found.is_sorted_by_key(|object| object.key));
    assert_eq!(hosted.deployment.live_objects(), 13);
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = hosted.deployment.list(namespace, &Page { after, limit: 5, ..Page::default() }).expect("is listed");
        let Some(last) = page.last() else { break };
        after = Some(last.key.id);
        seen.extend(page);
    }
    let keys =
        |list: &[objects::host::deployment::ObjectDetail]| list.iter().map(|object| object.key).collect::<Vec<_>>();
    assert_eq!(keys(&seen), keys(&found));
    let live = hosted.deployment.list_live(namespace, &Page { limit: 4, ..Page::default() }).expect("is listed");
    assert_eq!(keys(&live), keys(&found[..4]));
    assert_eq!(hosted.host.objects_at_rest(namespace, &all()).expect("is listed").len(), 12);
    let begin = hex::encode(found[3].key.id)[..6].to_owned();
    let page = Page { prefix: begin, ..all() };
    assert_eq!(keys(&hosted.deployment.list(namespace, &page).expect("is listed")), [found[3].key]);
}

fn namespace() {
    let (kept, hosted, namespace) = start();
    assert_eq!(hosted.get("/a/alarm").0, 200);
    let engines = hosted.deployment.engines();
    assert!(!engines.is_empty());
    assert!(hosted.host.remove("test") && !hosted.host.remove("test"));
    eventually("its engines' end", || hosted.deployment.engines().is_empty());
    assert!(engines.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
    let (status, text) = hosted.get("/a");
    assert!(status == 500 && text.contains("removed"), "{status} {text}");
    assert_eq!(hosted.host.objects_at_rest(namespace, &all()).expect("is listed").len(), 1, "what was stored stays");
    hosted.host.delete_namespace(namespace).expect("is deleted");
    hosted.host.delete_namespace(namespace).expect("may be repeated");
    assert!(hosted.host.objects_at_rest(namespace, &all()).expect("is listed").is_empty());
    drop(hosted);
    let hosted = Hosted::start(kept.path(), &kept.path().join("state"), Setting::default());
    assert!(hosted.host.objects_at_rest(namespace, &all()).expect("is listed").is_empty());
}

fn counted() {
    let (_kept, hosted, _) = start();
    let mut news = hosted.deployment.console().subscribe();
    for _ in 0..3 {
        assert_eq!(hosted.get("/a").0, 200);
    }
    assert_eq!(hosted.get("/a/fail").0, 500);
    let kept = hosted.deployment.console().since(0, 100);
    let texts: Vec<&str> = kept.lines.iter().map(|kept| kept.line.text.as_str()).collect();
    assert_eq!(texts[..3], ["counted 1", "counted 2", "counted 3"], "{texts:?}");
    assert_eq!(kept.lines[0].line.name.as_deref(), Some("a"));
    let first = hosted.run(news.recv()).expect("is told");
    assert_eq!((first.seq, first.line.text.as_str()), (kept.lines[0].seq, "counted 1"));
    let totals = hosted.deployment.totals();
    assert_eq!((totals.requests, totals.errors), (4, 1));
    eventually("time is counted", || hosted.deployment.totals().cpu_us > 0);
    let buckets = hosted.deployment.buckets();
    let sum = |of: fn(&objects::host::stats::Bucket) -> u64| buckets.iter().map(of).sum::<u64>();
    assert_eq!((sum(|bucket| bucket.requests), sum(|bucket| bucket.errors)), (4, 1));
    assert_eq!(sum(|bucket| bucket.latencies.iter().map(|count| u64::from(*count)).sum()), 4);
    assert!(hosted.deployment.engines_memory_bytes() > 1 << 20);
}
