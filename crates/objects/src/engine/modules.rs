//! A deployment's modules: compiled once per process, loaded as bytecode into each object's realm.
#![expect(unsafe_code, reason = "rquickjs loads bytecode, which QuickJS does not check, by an unsafe function only")]

use crate::wire::{Module as Source, ModuleKind, Problem};
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{Context, Ctx, Exception, Module, Runtime, WriteOptions};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

pub(super) const WORKERS: &str = "cloudflare:workers";

/// The global through which the module [`WORKERS`] gets its exports, before any code of the user runs.
pub(super) const WORKERS_GLOBAL: &str = "__workers";

const WORKERS_TEXT: &str = include_str!("js/workers_module.js");

/// Bytecode that this process compiled, by the module's name.
pub(crate) struct Library {
    code: HashMap<String, Vec<u8>>,
}

impl Library {
    /// The first module that is no module is told with its place.
    pub(crate) fn compile(modules: &[Source]) -> Result<Rc<Self>, Problem> {
        let failed =
            |error: rquickjs::Error| Problem::new("Error", format!("the JavaScript engine did not start: {error}"));
        let runtime = Runtime::new().map_err(failed)?;
        let context = Context::full(&runtime).map_err(failed)?;
        let mut texts = BTreeMap::from([(WORKERS.to_owned(), WORKERS_TEXT.as_bytes().to_vec())]);
        for module in modules {
            texts.insert(module.name.clone(), text_of(module)?);
        }
        let compiler = Compiler { texts: Rc::new(texts), code: Rc::default() };
        runtime.set_loader(compiler.clone(), compiler.clone());
        context.with(|ctx| {
            for name in compiler.texts.keys() {
                if !compiler.code.borrow().contains_key(name) {
                    compiler.compile(&ctx, name).map_err(|_| super::problem::of_exception(&ctx.catch()))?;
                }
            }
            Ok(())
        })?;
        drop(context);
        drop(runtime);
        Ok(Rc::new(Self { code: compiler.code.take() }))
    }
}

/// The module that `name` means in the module `base`, of those there are.
fn find(there: impl Fn(&str) -> bool, base: &str, name: &str) -> Option<String> {
    if there(name) && !name.starts_with('.') {
        return Some(name.to_owned());
    }
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    let joined = match name.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => join(folder, name)?,
    };
    there(&joined).then_some(joined)
}

fn missing(ctx: &Ctx<'_>, base: &str, name: &str) -> rquickjs::Error {
    Exception::throw_message(ctx, &format!("No such module \"{name}\".\n  imported from \"{base}\""))
}

/// `None`: above the root.
fn join(folder: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn text_of(module: &Source) -> Result<Vec<u8>, Problem> {
    let place = Some((module.name.clone(), 1, 1));
    let text = || {
        std::str::from_utf8(&module.body).map_err(|_| Problem {
            place: place.clone(),
            ..Problem::new("SyntaxError", format!("{} is not UTF-8", module.name))
        })
    };
    Ok(match module.kind {
        ModuleKind::Esm => text()?.as_bytes().to_vec(),
        // JSON is a part of JavaScript's syntax for expressions.
        ModuleKind::Text => format!("export default {};", serde_json::Value::from(text()?)).into_bytes(),
        ModuleKind::Json => {
            let value: serde_json::Value = serde_json::from_str(text()?).map_err(|error| Problem {
                place: Some((module.name.clone(), error.line() as u32, error.column() as u32)),
                ..Problem::new("SyntaxError", format!("{} is no JSON: {error}", module.name))
            })?;
            format!("export default {value};").into_bytes()
        }
        ModuleKind::Data => {
            let mut out = String::from("export default new Uint8Array([");
            for byte in &module.body {
                out.push_str(&byte.to_string());
                out.push(',');
            }
            out.push_str("]).buffer;");
            out.into_bytes()
        }
    })
}

/// Compiles modules, those that they import with them.
#[derive(Clone)]
struct Compiler {
    texts: Rc<BTreeMap<String, Vec<u8>>>,
    code: Rc<RefCell<HashMap<String, Vec<u8>>>>,
}

impl Compiler {
    fn compile<'js>(&self, ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Module<'js, Declared>> {
        let text = self.texts.get(name).ok_or_else(|| missing(ctx, "", name))?;
        let module = Module::declare(ctx.clone(), name, text.as_slice())?;
        // With the source of functions, which they can be asked for.
        self.code.borrow_mut().insert(name.to_owned(), module.write(WriteOptions::default())?);
        Ok(module)
    }
}

impl Resolver for Compiler {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        find(|name| self.texts.contains_key(name), base, name).ok_or_else(|| missing(ctx, base, name))
    }
}

impl Loader for Compiler {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        self.compile(ctx, name)
    }
}

impl Resolver for Shelf {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        find(|name| self.0.code.contains_key(name), base, name).ok_or_else(|| missing(ctx, base, name))
    }
}

/// What a runtime loads modules from.
#[derive(Clone)]
pub(super) struct Shelf(pub(super) Rc<Library>);

impl Loader for Shelf {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        match self.0.code.get(name) {
            // SAFETY: the bytes come from `Library::compile`, in this process: the field is private and nothing else fills it.
            Some(code) => unsafe { Module::load(ctx.clone(), code) },
            None => Err(missing(ctx, "", name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, kind: ModuleKind, text: &str) -> Source {
        Source { name: name.into(), kind, body: text.into() }
    }

    #[test]
    fn names_are_found_from_where_they_are_imported() {
        let modules = ["index.js", "lib/a.js", "lib/deep/b.js"].map(|name| module(name, ModuleKind::Esm, "export {}"));
        let library = Library::compile(&modules).unwrap();
        let check = |base: &str, name: &str, expected: Option<&str>| {
            assert_eq!(
                find(|name| library.code.contains_key(name), base, name).as_deref(),
                expected,
                "{name} from {base}"
            );
        };
        check("index.js", "./lib/a.js", Some("lib/a.js"));
        check("lib/a.js", "./deep/b.js", Some("lib/deep/b.js"));
        check("lib/deep/b.js", "../../index.js", Some("index.js"));
        check("lib/deep/b.js", "../a.js", Some("lib/a.js"));
        check("lib/a.js", "cloudflare:workers", Some("cloudflare:workers"));
        check("", "index.js", Some("index.js"));
        check("index.js", "../index.js", None);
        check("index.js", "./none.js", None);
    }

    #[test]
    fn an_error_of_syntax_has_a_place() {
        let bad = module("lib/bad.js", ModuleKind::Esm, "const a = 1;\nconst b = ;\n");
        let problem = Library::compile(&[bad]).err().unwrap();
        assert_eq!(problem.name, "SyntaxError");
        let (file, line, _) = problem.place.unwrap();
        assert_eq!((file.as_str(), line), ("lib/bad.js", 2));
        let json = module("a.json", ModuleKind::Json, "{\"a\": }");
        assert_eq!(Library::compile(&[json]).err().unwrap().place, Some(("a.json".into(), 1, 7)));
    }
}
