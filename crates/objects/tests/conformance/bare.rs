//! Programs that need the web APIs alone, in a bare realm: no modules, no storage, a clock that moves when nothing else is left to do.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use objects::engine::realm::{Realm, RealmLimits, Script, Scripts, When};
use objects::engine::web::{Bytes, SCRIPTS};
use rquickjs::prelude::MutFn;
use rquickjs::{CatchResultExt as _, Ctx, Function, Object, Value};

const LIMITS: RealmLimits = RealmLimits { memory_bytes: 128 << 20, stack_bytes: 4 << 20 };

/// What the other half of the engine gives the web APIs.
const HOST: &str = "
    let timers = [], next = 1;
    core.setTimer = (fn, ms) => { timers.push({ id: next, at: ops.now() + ms, fn }); return next++; };
    core.clearTimer = (id) => { timers = timers.filter((timer) => timer.id !== id); };
    globalThis.setTimeout = (fn, ms = 0, ...args) => core.setTimer(() => fn(...args), ms);
    globalThis.clearTimeout = globalThis.clearInterval = (id) => core.clearTimer(repeating.get(id) ?? id);
    const repeating = new Map();
    globalThis.setInterval = (fn, ms) => {
        const again = () => { repeating.set(id, core.setTimer(again, ms)); fn(); };
        const id = core.setTimer(again, ms);
        return id;
    };
    globalThis.console = {};
    core.runTimer = () => {
        if (timers.length === 0) return false;
        timers.sort((a, b) => a.at - b.at || a.id - b.id);
        const timer = timers.shift();
        ops.sleepTo(timer.at);
        timer.fn();
        return true;
    };
";

fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>) -> rquickjs::Result<()> {
    let now = Rc::new(Cell::new(1_700_000_000_000.0_f64));
    let read = Rc::clone(&now);
    ops.set("now", Function::new(ctx.clone(), move || read.get())?)?;
    ops.set("sleepTo", Function::new(ctx.clone(), move |at: f64| now.set(now.get().max(at)))?)?;
    let mut seed = 7_u32;
    let random = move |count: usize| {
        let mut bytes = vec![0_u8; count];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (seed >> 24) as u8;
        }
        Bytes(bytes)
    };
    ops.set("random", Function::new(ctx.clone(), MutFn::new(random))?)?;
    Ok(())
}

/// The script as its source has it now: a change of a script alone needs no build.
fn from_source(script: &Script) -> Script {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/engine/js/web/{}.js", script.name));
    let text = std::fs::read_to_string(path).expect("the source of a script");
    Script { text: Box::leak(text.into_boxed_str()), ..*script }
}

/// The scripts of the web APIs, and `main`, which `core.load('main')` runs.
pub(crate) fn compile(main: &str) -> Rc<Scripts> {
    let main: &'static str = Box::leak(main.to_owned().into_boxed_str());
    let mut scripts: Vec<Script> = SCRIPTS.iter().map(from_source).collect();
    scripts.push(Script { name: "test-host", text: HOST, when: When::Start });
    scripts.push(Script { name: "main", text: main, when: When::FirstUse });
    Scripts::compile(&scripts).expect("the scripts compile")
}

pub(crate) fn start(scripts: &Rc<Scripts>) -> Realm {
    Realm::new(scripts, LIMITS, install).expect("the realm starts")
}

/// A realm with the web APIs and a script `main`.
pub(crate) fn realm(main: &str) -> Realm {
    start(&compile(main))
}

/// Runs everything that is due, timers too.
pub(crate) fn settle(realm: &Realm) {
    loop {
        while realm.runtime().is_job_pending() {
            if let Err(job) = realm.runtime().execute_pending_job() {
                panic!("a job failed: {job}");
            }
        }
        let ran = realm.with(|_, core| core.get::<_, Function<'_>>("runTimer")?.call::<_, bool>(()));
        if !ran.expect("timers run") {
            return;
        }
    }
}

/// The transcript of a program of the suite, its modules made into one script.
pub(crate) fn transcript(program: &str) -> String {
    let harness = std::fs::read_to_string(crate::programs::folder().join("harness.js")).expect("the harness");
    let (_, harness) = harness.split_once("const own").expect("the harness imports first");
    let (harness, _) = harness.split_once("const { fetch").expect("the harness exports last");
    let program = program.replacen("export default ", "all.default = ", 1);
    let main = format!(
        "const all = {{}};\n{program}\nconst own{}\nrun({{}}, {{}}, null).then((text) => {{ core.transcript = text; }});",
        harness.replace("export const", "const")
    );
    let realm = realm(&main);
    load(&realm);
    settle(&realm);
    let ended: Option<String> = realm.with(|_, core| core.get("transcript")).expect("a transcript is text");
    ended.unwrap_or_else(|| String::from("(never ended)\n"))
}

/// Runs the script `main`.
pub(crate) fn load(realm: &Realm) {
    let loaded = realm.with(|ctx, core| {
        let loaded = core.get::<_, Function<'_>>("load")?.call::<_, Value<'_>>(("main",));
        loaded.catch(&ctx).expect("the program starts");
        Ok(())
    });
    loaded.expect("the realm runs");
}
