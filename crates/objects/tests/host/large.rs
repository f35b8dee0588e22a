//! Transactions that change much.

use objects::wire::Limits;

use crate::{
    Test,
    hosted::{Hosted, Setting, write_project},
};

pub const TESTS: &[Test] = &[
    ("large::one_that_changes_a_little_of_very_many_rows_goes_through", many_rows),
    ("large::one_that_is_too_large_is_an_error_to_its_object_alone", too_large),
];

const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";
const numbers = (count) => `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`;
export class Table extends DurableObject {
  asked = 0;
  here() { this.asked += 1; return this.asked; }
  sql(query) { return [...this.ctx.storage.sql.exec(query)]; }
  fill(rows) {
    this.sql("CREATE TABLE t (n, text)");
    for (let at = 0; at < rows; at += 50_000) this.sql(numbers(50_000) + " INSERT INTO t SELECT 0, hex(randomblob(15)) FROM n");
    return "filled";
  }
  count() { this.sql("UPDATE t SET n = n + 1"); return "counted"; }
  sum() { return this.sql("SELECT sum(n) AS sum FROM t")[0].sum; }
  much() { this.sql("CREATE TABLE m (a)"); this.sql(numbers(1_000) + " INSERT INTO m SELECT randomblob(1000) FROM n"); return "done"; }
  tables() { return this.sql("SELECT name FROM sqlite_master WHERE name = 'm'").length; }
}
export default {
  async fetch(request, env) {
    const [, name, what, argument] = new URL(request.url).pathname.split("/");
    return new Response(await env.Table.getByName(name)[what](Number(argument)));
  },
};
"#;

fn start(limits: Limits) -> (tempfile::TempDir, Hosted) {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Table"], MODULE);
    let setting = Setting { limits, ..Setting::default() };
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), setting);
    (directory, hosted)
}

fn many_rows() {
    const ROWS: u32 = 300_000;
    let (directory, hosted) = start(Limits::default());
    assert_eq!(hosted.get(&format!("/t/fill/{ROWS}")), (200, "filled".to_owned()));
    let engines = hosted.deployment.engines();
    assert_eq!(hosted.get("/t/count"), (200, "counted".to_owned()));
    assert_eq!(hosted.get("/t/sum"), (200, ROWS.to_string()));
    assert_eq!(hosted.deployment.engines(), engines, "the engine lives");
    drop(hosted);
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), Setting::default());
    assert_eq!(hosted.get("/t/sum"), (200, ROWS.to_string()), "and it is on the disk");
}

fn too_large() {
    let (_directory, hosted) = start(Limits { commit_bytes: 500_000, ..Limits::default() });
    assert_eq!(hosted.get("/neighbour/here"), (200, "1".to_owned()));
    let engines = hosted.deployment.engines();
    let (status, text) = hosted.get("/t/much");
    assert!(status == 500 && text.contains("is larger than 500000"), "{status} {text}");
    assert_eq!(hosted.get("/neighbour/here"), (200, "2".to_owned()));
    assert_eq!(hosted.deployment.engines(), engines, "the engine lives");
    assert_eq!(hosted.get("/t/tables"), (200, "0".to_owned()), "nothing of it is left");
}
