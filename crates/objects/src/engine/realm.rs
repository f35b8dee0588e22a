//! A realm is where the code of one live object runs: a QuickJS runtime of its own with a memory limit of its own, one context,
//! and the globals that our scripts put there.
//!
//! The scripts are compiled once per process ([`Scripts`]); a realm loads bytecode, and of most of it only what is used.

use std::collections::HashMap;
use std::ffi::{CString, NulError};
use std::rc::Rc;
use std::sync::Arc;

use rquickjs::context::intrinsic;
use rquickjs::{CatchResultExt, Context, Ctx, Function, Object, Persistent, Runtime, Value};

use super::memory::Limited;
use super::raw::{self, Bytecode};
use crate::meter::Meter;

/// A script of ours: the body of `function (core, ops) { "use strict"; ... }`. What it returns is what `core.load(name)` gives.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub name: &'static str,
    pub text: &'static str,
    pub when: When,
}

/// When a realm runs a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// When the realm starts, in the order of the list. Costs every live object memory: keep it small.
    Start,
    /// When `core.load(name)` first asks for it, or a global that `core.lazy` tied to it is first read.
    FirstUse,
}

/// What went wrong with a realm, or with one of our scripts in it.
#[derive(Debug, thiserror::Error)]
pub enum RealmError {
    #[error("the JavaScript engine could not start")]
    Start(#[source] rquickjs::Error),
    #[error("the script {script:?} contains a NUL byte")]
    Nul { script: &'static str, source: NulError },
    #[error("the script {script:?} failed: {problem}")]
    Script { script: &'static str, problem: String },
}

/// Our scripts as bytecode, one per process, shared by all its realms.
pub struct Scripts {
    start: Vec<&'static str>,
    code: HashMap<&'static str, Bytecode>,
    pub(super) classes: ClassIds,
}

impl Scripts {
    /// Compiles every script. Fails on a syntax error of ours.
    pub fn compile(scripts: &[Script]) -> Result<Rc<Self>, RealmError> {
        let runtime = Runtime::new().map_err(RealmError::Start)?;
        let context = Context::full(&runtime).map_err(RealmError::Start)?;
        context.with(|ctx| {
            let mut code = HashMap::with_capacity(scripts.len());
            for script in scripts {
                let nul = |source| RealmError::Nul { script: script.name, source };
                let name = CString::new(format!("berth:{}", script.name)).map_err(nul)?;
                let text = CString::new(format!("(function (core, ops) {{ 'use strict'; {}\n}})", script.text))
                    .map_err(nul)?;
                let compiled = Bytecode::compile(&ctx, &name, &text);
                let compiled = compiled.catch(&ctx).map_err(|problem| failed(script.name, &problem))?;
                code.insert(script.name, compiled);
            }
            let start = scripts.iter().filter(|script| script.when == When::Start).map(|script| script.name).collect();
            let classes = ClassIds::probe(&ctx).map_err(RealmError::Start)?;
            Ok(Rc::new(Self { start, code, classes }))
        })
    }

    /// The function that a script is, new in this context; `None` if there is no such script.
    fn function<'js>(&self, ctx: &Ctx<'js>, name: &str) -> Option<rquickjs::Result<Function<'js>>> {
        let code = self.code.get(name)?;
        Some(code.run(ctx).and_then(|value| value.get()))
    }
}

/// The class ids of built-in objects, asked of QuickJS itself, which does not publish them.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassIds {
    pub(super) object: u32,
    pub(super) array: u32,
    pub(super) error: u32,
    pub(super) number: u32,
    pub(super) string: u32,
    pub(super) boolean: u32,
    pub(super) bigint: u32,
    pub(super) date: u32,
    pub(super) regexp: u32,
    pub(super) map: u32,
    pub(super) set: u32,
    pub(super) buffer: u32,
    pub(super) data_view: u32,
    pub(super) dom_exception: u32,
    pub(super) arguments: u32,
    pub(super) arguments_sloppy: u32,
    /// In the order of `clone::VIEWS`.
    pub(super) views: [u32; 12],
}

impl ClassIds {
    fn probe(ctx: &Ctx<'_>) -> rquickjs::Result<Self> {
        let id = |text: &str| -> rquickjs::Result<u32> { Ok(raw::class_id(&ctx.eval::<Value<'_>, _>(text)?)) };
        let mut views = [0; 12];
        for (slot, name) in views.iter_mut().zip(super::clone::VIEWS) {
            *slot = id(&format!("new {name}(1)"))?;
        }
        Ok(Self {
            object: id("({})")?,
            array: id("[]")?,
            error: id("new Error")?,
            number: id("new Number(1)")?,
            string: id("new String('')")?,
            boolean: id("new Boolean(true)")?,
            bigint: id("Object(1n)")?,
            date: id("new Date(0)")?,
            regexp: id("/a/")?,
            map: id("new Map")?,
            set: id("new Set")?,
            buffer: id("new ArrayBuffer(1)")?,
            data_view: id("new DataView(new ArrayBuffer(1))")?,
            dom_exception: id("new DOMException")?,
            arguments: id("(function () { 'use strict'; return arguments })()")?,
            arguments_sloppy: id("(function (a) { return arguments })()")?,
            views,
        })
    }
}

/// Everything but `Eval`: text never becomes code in an object's realm, neither by `eval` nor by `new Function`.
type Intrinsics = (
    intrinsic::Date,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
    intrinsic::WeakRef,
    intrinsic::DOMException,
);

/// Rings of garbage are first looked for when a realm has so much memory. One that starts has none, and an idle one is
/// looked through anyway.
const FIRST_GC_BYTES: usize = 1 << 20;

/// What one realm may use.
#[derive(Clone, Copy, Debug)]
pub struct RealmLimits {
    pub memory_bytes: usize,
    pub stack_bytes: usize,
}

/// One object's JavaScript: runtime, context, and the private object `core` that our scripts share.
pub struct Realm {
    // Fields are dropped in this order: the runtime must go last.
    core: Persistent<Object<'static>>,
    context: Context,
    runtime: Runtime,
}

impl Realm {
    /// Starts a realm: `install` puts Rust's functions on `ops`, then the scripts marked [`When::Start`] run.
    pub fn new(
        scripts: &Rc<Scripts>,
        limits: RealmLimits,
        install: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> rquickjs::Result<()>,
    ) -> Result<Self, RealmError> {
        Self::within(scripts, &Arc::new(Meter::new(limits.memory_bytes)), limits.stack_bytes, install)
    }

    /// [`Self::new`] in memory that others count as well.
    pub(super) fn within(
        scripts: &Rc<Scripts>,
        memory: &Arc<Meter>,
        stack_bytes: usize,
        install: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> rquickjs::Result<()>,
    ) -> Result<Self, RealmError> {
        let runtime = Runtime::new_with_alloc(Limited(Arc::clone(memory))).map_err(RealmError::Start)?;
        runtime.set_max_stack_size(stack_bytes);
        runtime.set_gc_threshold(FIRST_GC_BYTES);
        let context = Context::custom::<Intrinsics>(&runtime).map_err(RealmError::Start)?;
        let core = context.with(|ctx| start(&ctx, scripts, install))?;
        Ok(Self { core, context, runtime })
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The private object that our scripts share.
    pub fn core<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
        self.core.clone().restore(ctx)
    }

    /// Runs `f` with the context and the private `core`.
    pub fn with<T>(
        &self,
        f: impl for<'js> FnOnce(Ctx<'js>, Object<'js>) -> rquickjs::Result<T>,
    ) -> rquickjs::Result<T> {
        self.context.with(|ctx| {
            let core = self.core.clone().restore(&ctx)?;
            f(ctx, core)
        })
    }
}

fn start(
    ctx: &Ctx<'_>,
    scripts: &Rc<Scripts>,
    install: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> rquickjs::Result<()>,
) -> Result<Persistent<Object<'static>>, RealmError> {
    let core = private(ctx).map_err(RealmError::Start)?;
    let ops = private(ctx).map_err(RealmError::Start)?;
    prepare(ctx, scripts, &ops).and_then(|()| install(ctx, &ops)).map_err(RealmError::Start)?;
    for name in &scripts.start {
        let Some(function) = scripts.function(ctx, name) else { continue };
        let ran = function.and_then(|function| function.call::<_, Value<'_>>((core.clone(), ops.clone())));
        ran.catch(ctx).map_err(|problem| failed(name, &problem))?;
    }
    Ok(Persistent::save(ctx, core))
}

/// Without a prototype: what code puts on `Object.prototype` would be called with the object.
fn private<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    object.set_prototype(None)?;
    Ok(object)
}

/// Puts on `ops` what belongs to the realm itself.
fn prepare<'js>(ctx: &Ctx<'js>, scripts: &Rc<Scripts>, ops: &Object<'js>) -> rquickjs::Result<()> {
    let shared = Rc::clone(scripts);
    let script = move |ctx: Ctx<'js>, ops: Object<'js>, name: String| -> rquickjs::Result<Value<'js>> {
        super::web::install_for(&name, &ctx, &ops)?;
        match shared.function(&ctx, &name) {
            Some(function) => function.map(Function::into_value),
            None => Err(rquickjs::Exception::throw_internal(&ctx, "there is no such script")),
        }
    };
    ops.set("script", Function::new(ctx.clone(), script)?)?;
    super::web::install(ctx, ops, scripts)
}

fn failed(script: &'static str, problem: &rquickjs::CaughtError<'_>) -> RealmError {
    RealmError::Script { script, problem: problem.to_string() }
}
