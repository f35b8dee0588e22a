//! Alarms whose object cannot be run when they are due.

use objects::{
    host::{deployment::Version, outgoing::Policy},
    project::{Project, Secret},
    wire::{Limits, Problem},
};

use crate::{
    Test,
    hosted::{Clock, Hosted, Setting, eventually, write_project},
};

pub const TESTS: &[Test] = &[
    ("alarms::those_that_came_due_in_a_version_that_does_not_load_fire_in_the_next", not_loaded),
    ("alarms::one_that_another_version_cut_is_no_failed_attempt", replaced),
    ("alarms::one_that_resets_its_object_has_failed", stopped),
    ("alarms::what_a_neighbour_did_to_the_engine_is_no_failed_attempt", neighbours),
];

const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Late extends DurableObject {
  async set(ms) { await this.ctx.storage.setAlarm(Date.now() + ms); return "set"; }
  die() { "a".repeat(2e7).indexOf("a".repeat(1e7) + "b"); }
  async alarm(info) {
    const name = this.ctx.id.name;
    console.log(`${name} ${info.retryCount}`);
    if (name === "waits" && (await this.ctx.storage.get("begun")) === undefined) {
      await this.ctx.storage.put("begun", true);
      await scheduler.wait(1e6);
    }
    // What is said in a turn that does not end is lost with it.
    await scheduler.wait(0);
    if (name === "stops" && info.retryCount === 0) this.ctx.abort("stops");
    if (name === "dies" && info.retryCount === 0) this.die();
  }
}
export default {
  async fetch(request, env) {
    const [, name, what, ms] = new URL(request.url).pathname.split("/");
    return new Response(await env.Late.getByName(name)[what](Number(ms)));
  },
};
"#;

fn start(setting: Setting) -> (tempfile::TempDir, Hosted) {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Late"], MODULE);
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), setting);
    (directory, hosted)
}

fn version(directory: &tempfile::TempDir, number: u64) -> Version {
    let project = Project::read(directory.path()).expect("is read");
    project.into_version(number, &Secret::of([7; 32]), Limits::default())
}

fn not_loaded() {
    const HOUR_MS: i64 = 3_600_000;
    let clock = Clock::default();
    let (directory, hosted) = start(Setting { clock: clock.clone(), ..Setting::default() });
    assert_eq!(hosted.get(&format!("/one/set/{HOUR_MS}")), (200, "set".to_owned()));
    let problem = Problem::new("SyntaxError", "it does not load");
    hosted
        .run(async { hosted.host.deploy_refused("test", version(&directory, 2), Policy::default(), problem) })
        .expect("is taken");
    // More often than an alarm may fail.
    for _ in 0..10 {
        clock.put_forward(HOUR_MS);
        let looks = clock.looks();
        eventually("alarms are looked at", || clock.looks() > looks + 4);
    }
    assert_eq!(hosted.console(), [""; 0]);
    hosted.run(async { hosted.host.deploy("test", version(&directory, 3), Policy::default()) }).expect("is deployed");
    clock.put_forward(HOUR_MS);
    eventually("it fires", || !hosted.console().is_empty());
    assert_eq!(hosted.console(), ["one 0"], "as the first attempt that it is");
}

fn replaced() {
    let (directory, hosted) = start(Setting::default());
    let said = |line: &str| hosted.console().iter().filter(|said| *said == line).count();
    assert_eq!(hosted.get("/waits/set/0"), (200, "set".to_owned()));
    eventually("it is at its alarm", || said("waits 0") == 1);
    hosted.run(async { hosted.host.deploy("test", version(&directory, 2), Policy::default()) }).expect("is deployed");
    eventually("it is run again", || hosted.console().len() == 2);
    assert_eq!(hosted.console(), ["waits 0", "waits 0"]);
}

fn stopped() {
    let (_directory, hosted) = start(Setting::default());
    assert_eq!(hosted.get("/stops/set/0"), (200, "set".to_owned()));
    eventually("it is tried again", || hosted.console().len() == 2);
    assert_eq!(hosted.console(), ["stops 0", "stops 1"]);
}

fn neighbours() {
    let limits = Limits { cpu_ms: 300, ..Limits::default() };
    let (_directory, hosted) = start(Setting { limits, ..Setting::default() });
    let said = |line: &str| hosted.console().iter().filter(|said| *said == line).count();
    assert_eq!(hosted.get("/waits/set/0"), (200, "set".to_owned()));
    eventually("it is at its alarm", || said("waits 0") == 1);
    assert_eq!(hosted.get("/other/die").0, 500, "the engine is killed");
    eventually("it is run again", || said("waits 0") == 2);
    // Of one that ended the engine itself it is another matter.
    assert_eq!(hosted.get("/dies/set/0"), (200, "set".to_owned()));
    eventually("it is tried again", || said("dies 1") == 1);
    assert_eq!((said("dies 0"), said("waits 1")), (1, 0));
}
