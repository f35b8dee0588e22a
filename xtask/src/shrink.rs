//! Leaves out of the page's module what no page ever runs, and neither compiler nor linker can see.

use std::path::Path;

use anyhow::{Result, ensure};
use walrus::{FunctionBuilder, FunctionKind, Module};

/// Leptos brings a document alive at once, or bit by bit where a part of it is fetched later (`hydrate_lazy`). The page does the
/// first alone. But each erased view carries a pointer to its second way, a tenth of all code.
const LAZY_HYDRATION: &str = "::into_any::hydrate_async::<";
/// Attributes of views from `<template>`s, of which the page has none, are kept alive in the same way.
const TEMPLATES: &str = "::into_any_attr::hydrate_from_template::<";

/// Turns the functions above into traps. `wasm-opt` makes one of them all, and drops what only they called.
pub fn leave_out(file: &Path) -> Result<()> {
    let mut module = Module::from_file(file)?;
    for never_run in [LAZY_HYDRATION, TEMPLATES] {
        let functions: Vec<_> = module
            .funcs
            .iter()
            // The functions themselves and their futures, not what has one of them among its types.
            .filter(|function| function.name.as_deref().is_some_and(|name| is_of(name, never_run)))
            .map(|function| (function.id(), function.ty()))
            .collect();
        ensure!(
            !functions.is_empty(),
            "no function is named …{never_run}…: have names been stripped, or leptos changed?"
        );
        for (function, ty) in functions {
            let (parameters, results) =
                (module.types.get(ty).params().to_vec(), module.types.get(ty).results().to_vec());
            let arguments = parameters.iter().map(|ty| module.locals.add(*ty)).collect();
            let mut trap = FunctionBuilder::new(&mut module.types, &parameters, &results);
            trap.func_body().unreachable();
            module.funcs.get_mut(function).kind = FunctionKind::Local(trap.local_func(arguments));
        }
    }
    module.emit_wasm_file(file)
}

/// `<_ as tachys::…>` before `never_run`, without a generic argument between the two.
fn is_of(name: &str, never_run: &str) -> bool {
    let before = name.split_once(never_run).map(|(before, _)| before);
    before.is_some_and(|before| before.starts_with("<_ as tachys") && before.matches('<').count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_functions_themselves_are_left_out() {
        let into_any = "<_ as tachys[4dc5]::view::any_view::IntoAny>::into_any";
        let check = |name: String, left_out| assert_eq!(is_of(&name, LAZY_HYDRATION), left_out, "{name}");
        check(format!("{into_any}::hydrate_async::<leptos::View<()>>"), true);
        check(format!("{into_any}::hydrate_async::<alloc::vec::Vec<()>>::{{closure#0}}"), true);
        check(format!("{into_any}::hydrate_from_server::<leptos::View<()>>"), false);
        check(format!("core::ptr::drop_in_place::<{into_any}::hydrate_async::<()>::{{closure#0}}>"), false);
    }
}
