//! What JavaScript holds of ours under a number, and how we hear that it holds it no more.
#![expect(unsafe_code, reason = "a class of rquickjs has its lifetime changed by an unsafe trait")]

use rquickjs::class::{JsClass, Readable, Trace, Tracer};
use rquickjs::function::Constructor;
use rquickjs::{Class, Ctx, JsLifetime, Object, Result, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// The numbers of handles that are no more.
#[derive(Debug, Clone, Default)]
pub(super) struct Gone(Rc<RefCell<Vec<u64>>>);

impl Gone {
    pub(super) fn take(&self) -> Vec<u64> {
        // Mostly there are none.
        if self.0.borrow().is_empty() { Vec::new() } else { self.0.take() }
    }
}

/// An object without properties. It may end in the midst of anything that needs memory of JavaScript's: all it does then is to leave
/// its number.
struct Handle {
    number: u64,
    gone: Gone,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.gone.0.borrow_mut().push(self.number);
    }
}

impl<'js> Trace<'js> for Handle {
    fn trace<'a>(&self, _tracer: Tracer<'a, 'js>) {}
}

// SAFETY: it holds nothing of JavaScript's, so its type is the same in every lifetime.
unsafe impl JsLifetime<'_> for Handle {
    type Changed<'to> = Handle;
}

impl<'js> JsClass<'js> for Handle {
    const NAME: &'static str = "Handle";
    type Mutable = Readable;

    fn prototype(_ctx: &Ctx<'js>) -> Result<Option<Object<'js>>> {
        Ok(None)
    }

    fn constructor(_ctx: &Ctx<'js>) -> Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}

/// Once JavaScript holds it no more, the number is in `gone`.
pub(super) fn wrap<'js>(ctx: &Ctx<'js>, number: u64, gone: &Gone) -> Result<Value<'js>> {
    Ok(Class::instance(ctx.clone(), Handle { number, gone: gone.clone() })?.into_value())
}

pub(super) fn number(handle: &Value<'_>) -> Result<u64> {
    Ok(Class::<Handle>::from_value(handle)?.borrow().number)
}
