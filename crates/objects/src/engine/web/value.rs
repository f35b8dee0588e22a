//! Bytes as operations take and give them.

use rquickjs::{ArrayBuffer, Ctx, Error, FromJs, IntoJs, Result, TypedArray, Value};

use crate::engine::raw;

/// The bytes of a Uint8Array, copied. What goes to JavaScript is allocated by its runtime, so that its memory limit counts it.
pub struct Bytes(pub Vec<u8>);

impl<'js> FromJs<'js> for Bytes {
    fn from_js(_: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        raw::view_bytes(&value).map(Self).ok_or_else(|| Error::new_from_js(value.type_name(), "Uint8Array"))
    }
}

impl<'js> IntoJs<'js> for Bytes {
    fn into_js(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        let buffer = ArrayBuffer::new_copy::<u8>(ctx.clone(), &self.0)?;
        TypedArray::<u8>::from_arraybuffer(buffer).map(TypedArray::into_value)
    }
}
