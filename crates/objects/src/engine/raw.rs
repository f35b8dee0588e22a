//! The few things of QuickJS that rquickjs leaves to its raw interface.
#![expect(
    unsafe_code,
    reason = "bytecode, class ids, UTF-16 strings and the bytes of buffers have no safe interface in rquickjs"
)]

use std::ffi::CStr;
use std::mem::MaybeUninit;

use rquickjs::{Ctx, Error, Object, Result, String as JsString, Value, qjs};

/// Bytecode that was compiled in this process, and nothing else: QuickJS does not check it.
pub(super) struct Bytecode(Vec<u8>);

impl Bytecode {
    /// Compiles the text of an expression without running it; the text itself is not kept.
    pub(super) fn compile(ctx: &Ctx<'_>, name: &CStr, text: &CStr) -> Result<Self> {
        let flags = qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_STRICT | qjs::JS_EVAL_FLAG_COMPILE_ONLY;
        // Tables of lines would take memory in every object for errors of ours.
        let write = qjs::JS_WRITE_OBJ_BYTECODE | qjs::JS_WRITE_OBJ_STRIP_SOURCE | qjs::JS_WRITE_OBJ_STRIP_DEBUG;
        // SAFETY: both strings end in NUL, and the length given is that of the text without it. The compiled value is owned
        // by `Value`; the buffer that JS_WriteObject returns is copied and given back to the same context.
        unsafe {
            let raw = ctx.as_raw().as_ptr();
            let code = qjs::JS_Eval(raw, text.as_ptr(), text.to_bytes().len() as _, name.as_ptr(), flags as i32);
            let code = owned(ctx, code)?;
            let mut length = MaybeUninit::uninit();
            let bytes = qjs::JS_WriteObject(raw, length.as_mut_ptr(), code.as_raw(), write as i32);
            if bytes.is_null() {
                return Err(Error::Exception);
            }
            let copy = std::slice::from_raw_parts(bytes, length.assume_init() as usize).to_vec();
            qjs::js_free(raw, bytes.cast());
            Ok(Self(copy))
        }
    }

    /// Runs it, and gives its completion value.
    pub(super) fn run<'js>(&self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        // SAFETY: the bytes were written by JS_WriteObject of the same QuickJS in this process (the field is private), and
        // JS_EvalFunction takes over the value it is given.
        unsafe {
            let raw = ctx.as_raw().as_ptr();
            let code = qjs::JS_ReadObject(raw, self.0.as_ptr(), self.0.len() as _, qjs::JS_READ_OBJ_BYTECODE as i32);
            if qjs::JS_IsException(code) {
                return Err(Error::Exception);
            }
            owned(ctx, qjs::JS_EvalFunction(raw, code))
        }
    }
}

/// QuickJS's number for the kind of an object; it says what the object is whatever its prototype was changed to.
pub(super) fn class_id(value: &Value<'_>) -> u32 {
    // SAFETY: the value is alive; anything but an object has the invalid class.
    unsafe { qjs::JS_GetClassID(value.as_raw()) }
}

/// The address of an object, for telling whether two values are the same one while both are held.
pub(super) fn address(value: &Value<'_>) -> usize {
    // SAFETY: the pointer is only compared, never followed.
    unsafe { qjs::JS_VALUE_GET_PTR(value.as_raw()) as usize }
}

/// The UTF-16 units of a string, lone surrogates among them.
pub(super) fn utf16(text: &JsString<'_>) -> Result<Vec<u16>> {
    // SAFETY: the units are copied before they are given back to the same context.
    unsafe {
        let raw = text.ctx().as_raw().as_ptr();
        let mut length = MaybeUninit::uninit();
        let units = qjs::JS_ToCStringLenUTF16(raw, length.as_mut_ptr(), text.as_raw());
        if units.is_null() {
            return Err(Error::Exception);
        }
        let copy = std::slice::from_raw_parts(units, length.assume_init() as usize).to_vec();
        qjs::JS_FreeCStringUTF16(raw, units);
        Ok(copy)
    }
}

pub(super) fn from_utf16<'js>(ctx: &Ctx<'js>, units: &[u16]) -> Result<Value<'js>> {
    // SAFETY: QuickJS copies the units it is pointed at.
    unsafe { owned(ctx, qjs::JS_NewStringUTF16(ctx.as_raw().as_ptr(), units.as_ptr(), units.len() as _)) }
}

/// Copies the bytes of an ArrayBuffer or SharedArrayBuffer; `None` for anything else and for a detached one.
pub(super) fn buffer_bytes(value: &Value<'_>) -> Option<Vec<u8>> {
    let buffer = rquickjs::ArrayBuffer::from_value(value.clone())?;
    let bytes = buffer.as_raw()?;
    // SAFETY: copied at once, before JavaScript can run and change or move them.
    Some(unsafe { bytes.as_ref() }.to_vec())
}

/// Copies the bytes of a Uint8Array; `None` for anything else and for a detached one.
pub(super) fn view_bytes(value: &Value<'_>) -> Option<Vec<u8>> {
    with_view(value, <[u8]>::to_vec)
}

/// Lends the bytes of a Uint8Array to `use_bytes`, which cannot reach JavaScript through them.
pub(super) fn with_view<T>(value: &Value<'_>, use_bytes: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let object: &Object<'_> = value.as_object()?;
    let view = object.as_typed_array::<u8>()?;
    let bytes = view.as_raw()?;
    // SAFETY: `use_bytes` has no context to run JavaScript with, so nothing moves the bytes while they are lent.
    Some(use_bytes(unsafe { bytes.as_ref() }))
}

/// Gives an object an own, plain property whatever setters its prototypes have.
pub(super) fn define<'js>(object: &Object<'js>, key: &Value<'js>, value: &Value<'js>) -> Result<()> {
    let ctx = object.ctx();
    let flags = (qjs::JS_PROP_C_W_E | qjs::JS_PROP_THROW) as i32;
    // SAFETY: the atom is freed after its use; JS_DefinePropertyValue takes over one reference to the value, which is made
    // for it.
    unsafe {
        let raw = ctx.as_raw().as_ptr();
        let atom = qjs::JS_ValueToAtom(raw, key.as_raw());
        if atom == qjs::JS_ATOM_NULL {
            return Err(Error::Exception);
        }
        let given = qjs::JS_DupValue(raw, value.as_raw());
        let done = qjs::JS_DefinePropertyValue(raw, object.as_value().as_raw(), atom, given, flags);
        qjs::JS_FreeAtom(raw, atom);
        if done < 0 { Err(Error::Exception) } else { Ok(()) }
    }
}

/// As [`define`], for the element of an array.
pub(super) fn define_index<'js>(array: &Object<'js>, index: u32, value: &Value<'js>) -> Result<()> {
    let ctx = array.ctx();
    let flags = (qjs::JS_PROP_C_W_E | qjs::JS_PROP_THROW) as i32;
    // SAFETY: JS_DefinePropertyValueUint32 takes over one reference to the value, which is made for it.
    unsafe {
        let raw = ctx.as_raw().as_ptr();
        let given = qjs::JS_DupValue(raw, value.as_raw());
        let done = qjs::JS_DefinePropertyValueUint32(raw, array.as_value().as_raw(), index, given, flags);
        if done < 0 { Err(Error::Exception) } else { Ok(()) }
    }
}

/// # Safety
/// `value` must be a reference that the caller owns, of this context.
unsafe fn owned<'js>(ctx: &Ctx<'js>, value: qjs::JSValue) -> Result<Value<'js>> {
    // SAFETY: by the caller's promise; an exception holds no reference.
    unsafe {
        if qjs::JS_IsException(value) {
            return Err(Error::Exception);
        }
        Ok(Value::from_raw(ctx.clone(), value))
    }
}
