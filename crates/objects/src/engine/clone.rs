//! Structured clone: values of JavaScript to bytes and back, for stored values, RPC and `structuredClone`.
//!
//! The bytes begin with a version. Whoever reads them need not trust them: lengths are held against what is there, and depth has a
//! limit. Values that are no data (functions, stubs, streams) are the business of an `external` callback.

mod preview;
mod read;
#[cfg(test)]
mod tests;
mod write;

use rquickjs::{Ctx, Exception, Function, Object, Value};

pub(super) use preview::preview;

use super::raw;
use super::realm::ClassIds;

/// The classes of views, in the order of their bytes in the encoding. A view added later goes to the end.
pub(super) const VIEWS: [&str; 12] = [
    "Int8Array",
    "Uint8Array",
    "Uint8ClampedArray",
    "Int16Array",
    "Uint16Array",
    "Int32Array",
    "Uint32Array",
    "Float32Array",
    "Float64Array",
    "BigInt64Array",
    "BigUint64Array",
    "Float16Array",
];

/// The bytes that one element of a view takes, in the order of [`VIEWS`].
const VIEW_WIDTHS: [usize; 12] = [1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 2];

/// The first byte of every encoding: what this code writes, and the newest that it reads.
const VERSION: u8 = 1;

/// How deep values may be nested. Each level takes stack of the engine's thread, here and in QuickJS.
const DEPTH_LIMIT: usize = 1_000;

/// How many objects one value may hold.
const OBJECTS_LIMIT: usize = 4_000_000;

/// What follows the tag is written beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    Undefined = 0,
    Null = 1,
    False = 2,
    True = 3,
    /// zigzag varint
    Int = 4,
    /// 8 bytes, little-endian
    Float = 5,
    /// bytes of UTF-8
    Text = 6,
    /// count of units, then 2 bytes each: a string with lone surrogates
    TextUtf16 = 7,
    /// decimal digits as bytes
    BigInt = 8,
    /// varint: the object of that number, in the order in which they began
    Seen = 9,
    /// properties, then `End`
    Object = 10,
    /// varint length, that many values
    Array = 11,
    /// varint length, properties, then `End`
    SparseArray = 12,
    /// 8 bytes, little-endian
    Date = 13,
    /// source and flags as bytes
    RegExp = 14,
    /// varint count, key and value each
    Map = 15,
    /// varint count, values
    Set = 16,
    /// bytes
    Buffer = 17,
    /// the number of its class in `VIEWS`, varint offset, varint length, and its buffer as a value
    View = 18,
    /// varint offset, varint length, and its buffer as a value
    DataView = 19,
    /// name as bytes, then message, stack and cause as properties, own properties, `End`
    Error = 20,
    /// name and message as bytes, stack as value
    DomException = 21,
    /// the primitive as a value
    Boxed = 22,
    /// varint: what the `external` callback made of it
    External = 23,
    /// In an array: nothing is there.
    Hole = 24,
    End = 25,
}

impl Tag {
    const ALL: [Self; 26] = [
        Self::Undefined,
        Self::Null,
        Self::False,
        Self::True,
        Self::Int,
        Self::Float,
        Self::Text,
        Self::TextUtf16,
        Self::BigInt,
        Self::Seen,
        Self::Object,
        Self::Array,
        Self::SparseArray,
        Self::Date,
        Self::RegExp,
        Self::Map,
        Self::Set,
        Self::Buffer,
        Self::View,
        Self::DataView,
        Self::Error,
        Self::DomException,
        Self::Boxed,
        Self::External,
        Self::Hole,
        Self::End,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// Its member `helpers` has functions in JavaScript that know the primordials; they are made, by `clone.js`, when it is read first.
struct Helpers<'js>(Object<'js>);

impl<'js> Helpers<'js> {
    fn call<T: rquickjs::FromJs<'js>>(
        &self,
        name: &str,
        args: impl rquickjs::function::IntoArgs<'js>,
    ) -> rquickjs::Result<T> {
        self.0.get::<_, Object<'js>>("helpers")?.get::<_, Function<'js>>(name)?.call(args)
    }

    fn refuse(&self, ctx: &Ctx<'js>, message: &str) -> rquickjs::Error {
        match self.call::<Value<'js>>("dataCloneError", (message,)) {
            Ok(error) => ctx.throw(error),
            Err(error) => error,
        }
    }
}

/// Puts the operations on `ops`: `cloneEncode(value, helpers, external)` and `cloneDecode(bytes, helpers, external)`.
pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, classes: ClassIds) -> rquickjs::Result<()> {
    let encode = move |ctx: Ctx<'js>, value: Value<'js>, helpers: Object<'js>, external: Option<Function<'js>>| {
        let bytes = write::encode(&ctx, value, Helpers(helpers), external, classes)?;
        rquickjs::TypedArray::new(ctx, bytes)
    };
    ops.set("cloneEncode", Function::new(ctx.clone(), encode)?)?;
    let decode = |ctx: Ctx<'js>, bytes: Value<'js>, helpers: Object<'js>, external: Option<Function<'js>>| {
        let Some(bytes) = raw::view_bytes(&bytes) else {
            return Err(Exception::throw_type(&ctx, "what is to be read is no Uint8Array"));
        };
        read::decode(&ctx, &bytes, &Helpers(helpers), external)
    };
    ops.set("cloneDecode", Function::new(ctx.clone(), decode)?)?;
    Ok(())
}
