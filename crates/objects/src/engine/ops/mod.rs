//! The functions that our scripts call: all that code in an object can make happen outside its own memory.

mod calls;
mod events;
mod gate;
mod ids;
mod kv;
mod misc;
mod sockets;
mod sql;

pub(super) use ids::Known;
pub use ids::from_name;

use super::shared::Shared;
use super::storage::StorageError;
use crate::sqlite::SqlError;
use crate::wire::{Cloned, Problem};
use rquickjs::object::Property;
use rquickjs::{Array, Ctx, Error, Exception, Object, Result, TypedArray, Value};
use std::rc::Rc;

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, shared: &Rc<Shared>) -> Result<()> {
    calls::install(ctx, ops, shared)?;
    events::install(ctx, ops, shared)?;
    gate::install(ctx, ops, shared)?;
    ids::install(ctx, ops, shared)?;
    kv::install(ctx, ops, shared)?;
    misc::install(ctx, ops, shared)?;
    sockets::install(ctx, ops, shared)?;
    sql::install(ctx, ops, shared)
}

/// Defines `ops.name`. An object whose life is over can do nothing any more.
macro_rules! op {
    ($ctx:ident, $ops:ident, $owner:ident, $name:literal, |$shared:ident, $inner:ident $(, $arg:ident: $type:ty)*| $body:expr) => {{
        let owner = Rc::clone($owner);
        let function = rquickjs::Function::new($ctx.clone(), move |$inner: rquickjs::Ctx<'js> $(, $arg: $type)*| {
            let $shared = &owner;
            if $shared.has_ended() {
                return Err(crate::engine::ops::plain_error(&$inner, "The object was reset."));
            }
            $body
        })?;
        $ops.set($name, function)?;
    }};
}
use op;

/// Bytes as JavaScript has them, counted to its memory.
fn bytes<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>> {
    Ok(TypedArray::<u8>::new_copy(ctx.clone(), bytes)?.into_value())
}

/// An `Error` as code would have made it: its message is not enumerable.
fn plain_error(ctx: &Ctx<'_>, message: &str) -> Error {
    let made = Exception::from_message(ctx.clone(), message).and_then(|exception| {
        exception.prop("message", Property::from(message).writable().configurable())?;
        Ok(exception)
    });
    match made {
        Ok(exception) => exception.throw(),
        Err(error) => error,
    }
}

fn type_error(ctx: &Ctx<'_>, message: &str) -> Error {
    Exception::throw_type(ctx, message)
}

/// Our scripts pass what they should: anything else is a bug of theirs.
fn misuse(ctx: &Ctx<'_>) -> Error {
    Exception::throw_internal(ctx, "an operation was called wrongly")
}

/// Numbers below 2^53, which is what ids are.
fn id(number: f64) -> u64 {
    number as u64
}

fn sql_error(ctx: &Ctx<'_>, shared: &Shared, error: &SqlError) -> Error {
    if error.interrupted() {
        shared.end_with(Problem::reset(super::CPU_EXCEEDED));
    } else if error.is_of_storage() {
        shared.end_with(Problem::reset(format!("The object's storage failed: {error}")));
    }
    plain_error(ctx, &error.to_string())
}

fn storage_error(ctx: &Ctx<'_>, shared: &Shared, error: &StorageError) -> Error {
    match error {
        StorageError::Sql(error) => sql_error(ctx, shared, error),
        StorageError::None | StorageError::Cursors => plain_error(ctx, &error.to_string()),
    }
}

/// Bytes of what is sent beside a body: a message that carries more is refused, for none may pass the longest frame.
const MOST_TEXT_BYTES: usize = 256 << 10;

/// An error's parts are cut rather than refused.
const MOST_PROBLEM_BYTES: usize = 64 << 10;

fn refuse_long(ctx: &Ctx<'_>, what: &str, bytes: usize) -> Result<()> {
    if bytes <= MOST_TEXT_BYTES {
        return Ok(());
    }
    Err(type_error(ctx, &format!("{what} of {bytes} bytes is longer than the {MOST_TEXT_BYTES} allowed")))
}

fn cut(mut text: String) -> String {
    if text.len() > MOST_PROBLEM_BYTES {
        let end = (0..=MOST_PROBLEM_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// `[name, message, stack, properties, remote, retryable, overloaded, reset]`
fn read_problem(array: &Array<'_>) -> Result<Problem> {
    let properties: Value<'_> = array.get(3)?;
    let stack: Option<String> = array.get(2)?;
    Ok(Problem {
        name: cut(array.get(0)?),
        message: cut(array.get(1)?),
        place: stack.as_deref().and_then(super::problem::place),
        stack: stack.map(cut),
        properties: super::raw::view_bytes(&properties).filter(|bytes| bytes.len() <= MOST_TEXT_BYTES).map(Cloned),
        remote: array.get(4)?,
        retryable: array.get(5)?,
        overloaded: array.get(6)?,
        object_reset: array.get(7)?,
    })
}

pub(super) fn write_problem<'js>(ctx: &Ctx<'js>, problem: &Problem) -> Result<Array<'js>> {
    let array = Array::new(ctx.clone())?;
    array.set(0, problem.name.as_str())?;
    array.set(1, problem.message.as_str())?;
    array.set(2, problem.stack.as_deref())?;
    match &problem.properties {
        Some(properties) => array.set(3, bytes(ctx, &properties.0)?)?,
        None => array.set(3, rquickjs::Null)?,
    }
    array.set(4, problem.remote)?;
    array.set(5, problem.retryable)?;
    array.set(6, problem.overloaded)?;
    array.set(7, problem.object_reset)?;
    Ok(array)
}
