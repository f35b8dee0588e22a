//! Bytes to values. The bytes may be anybody's.

use rquickjs::{Array, ArrayBuffer, Ctx, Exception, Function, Object, Result, String as JsString, Value};

use super::{DEPTH_LIMIT, Helpers, Tag, VERSION, VIEW_WIDTHS, VIEWS};
use crate::engine::raw;

pub(super) fn decode<'js>(
    ctx: &Ctx<'js>,
    bytes: &[u8],
    helpers: &Helpers<'js>,
    external: Option<Function<'js>>,
) -> Result<Value<'js>> {
    let mut reader = Reader { ctx, rest: bytes, helpers, external, objects: Vec::new(), depth: 0 };
    if reader.byte()? != VERSION {
        return Err(reader.broken());
    }
    let value = reader.value()?;
    if reader.rest.is_empty() { Ok(value) } else { Err(reader.broken()) }
}

struct Reader<'a, 'js> {
    ctx: &'a Ctx<'js>,
    rest: &'a [u8],
    helpers: &'a Helpers<'js>,
    external: Option<Function<'js>>,
    /// In the order in which they began; `None` while one is not made yet, which no honest encoding refers to.
    objects: Vec<Option<Value<'js>>>,
    depth: usize,
}

impl<'a, 'js> Reader<'a, 'js> {
    fn broken(&self) -> rquickjs::Error {
        self.helpers.refuse(self.ctx, "Unable to deserialize cloned data.")
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else { return Err(self.broken()) };
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.broken())
    }

    /// A count of things that take a byte each at least: more than the bytes left is a lie.
    fn count(&mut self) -> Result<usize> {
        let count = self.varint()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() => Ok(count),
            Ok(_) | Err(_) => Err(self.broken()),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let count = self.count()?;
        self.take(count)
    }

    fn utf8(&mut self) -> Result<&'a str> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.broken())
    }

    fn float(&mut self) -> Result<f64> {
        let bytes = self.take(8)?;
        let mut eight = [0; 8];
        eight.copy_from_slice(bytes);
        Ok(f64::from_le_bytes(eight))
    }

    fn tag(&mut self) -> Result<Tag> {
        let byte = self.byte()?;
        Tag::from_byte(byte).ok_or_else(|| self.broken())
    }

    fn value(&mut self) -> Result<Value<'js>> {
        let tag = self.tag()?;
        self.tagged(tag)
    }

    fn tagged(&mut self, tag: Tag) -> Result<Value<'js>> {
        let ctx = self.ctx.clone();
        match tag {
            Tag::Undefined => Ok(Value::new_undefined(ctx)),
            Tag::Null => Ok(Value::new_null(ctx)),
            Tag::False => Ok(Value::new_bool(ctx, false)),
            Tag::True => Ok(Value::new_bool(ctx, true)),
            Tag::Int => {
                let zigzag = self.varint()?;
                let int = ((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64);
                i32::try_from(int).map(|int| Value::new_int(ctx, int)).map_err(|_| self.broken())
            }
            Tag::Float => Ok(Value::new_float(ctx, self.float()?)),
            Tag::Text => {
                let text = self.utf8()?;
                Ok(JsString::from_str(ctx, text)?.into_value())
            }
            Tag::TextUtf16 => self.utf16(),
            Tag::BigInt => {
                let digits = self.utf8()?;
                if digits.strip_prefix('-').unwrap_or(digits).bytes().all(|digit| digit.is_ascii_digit()) {
                    self.helpers.call("bigint", (digits,))
                } else {
                    Err(self.broken())
                }
            }
            Tag::Seen => self.seen(),
            Tag::Hole | Tag::End => Err(self.broken()),
            Tag::Object
            | Tag::Array
            | Tag::SparseArray
            | Tag::Date
            | Tag::RegExp
            | Tag::Map
            | Tag::Set
            | Tag::Buffer
            | Tag::View
            | Tag::DataView
            | Tag::Error
            | Tag::DomException
            | Tag::Boxed
            | Tag::External => {
                if self.depth >= DEPTH_LIMIT {
                    return Err(Exception::throw_range(self.ctx, "Maximum call stack size exceeded"));
                }
                self.depth += 1;
                let object = self.object(tag);
                self.depth -= 1;
                object
            }
        }
    }

    fn utf16(&mut self) -> Result<Value<'js>> {
        let units = self.count()?;
        let Some(length) = units.checked_mul(2) else { return Err(self.broken()) };
        let bytes = self.take(length)?;
        let units: Vec<u16> = bytes.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect();
        raw::from_utf16(self.ctx, &units)
    }

    fn seen(&mut self) -> Result<Value<'js>> {
        let number = self.varint()?;
        let object = usize::try_from(number).ok().and_then(|number| self.objects.get(number).cloned().flatten());
        object.ok_or_else(|| self.broken())
    }

    fn object(&mut self, tag: Tag) -> Result<Value<'js>> {
        let place = self.objects.len();
        self.objects.push(None);
        let ctx = self.ctx.clone();
        let made: Value<'js> = match tag {
            Tag::Object => {
                let object = Object::new(ctx)?;
                self.objects[place] = Some(object.clone().into_value());
                self.properties(&object)?;
                object.into_value()
            }
            Tag::Array => self.array(place)?,
            Tag::SparseArray => {
                let length = self.varint()?;
                let length = u32::try_from(length).map_err(|_| self.broken())?;
                let array: Object<'js> = self.helpers.call("sparse", (length,))?;
                self.objects[place] = Some(array.clone().into_value());
                self.properties(&array)?;
                array.into_value()
            }
            Tag::Date => {
                let time = self.float()?;
                self.helpers.call("makeDate", (time,))?
            }
            Tag::RegExp => {
                let (source, flags) = (self.utf8()?, self.utf8()?);
                self.helpers.call("makeRegExp", (source, flags))?
            }
            Tag::Map => self.map(place)?,
            Tag::Set => self.set(place)?,
            Tag::Buffer => {
                let bytes = self.bytes()?;
                ArrayBuffer::new_copy(ctx, bytes)?.into_value()
            }
            Tag::View => self.view()?,
            Tag::DataView => {
                let (offset, length) = (self.varint()?, self.varint()?);
                let buffer = self.buffer(offset, length)?;
                self.helpers.call("makeView", ("DataView", buffer, offset as f64, length as f64))?
            }
            Tag::Error => {
                let name = self.utf8()?;
                let error: Object<'js> = self.helpers.call("makeError", (name,))?;
                self.objects[place] = Some(error.clone().into_value());
                self.error_properties(&error)?;
                error.into_value()
            }
            Tag::DomException => {
                let (name, message) = (self.utf8()?, self.utf8()?);
                let stack = self.value()?;
                self.helpers.call("makeDomException", (name, message, stack))?
            }
            Tag::Boxed => {
                let primitive = self.value()?;
                self.helpers.call("box", (primitive,))?
            }
            Tag::External => {
                let number = self.varint()?;
                match &self.external {
                    Some(external) => external.call((number as f64,))?,
                    None => return Err(self.broken()),
                }
            }
            Tag::Undefined
            | Tag::Null
            | Tag::False
            | Tag::True
            | Tag::Int
            | Tag::Float
            | Tag::Text
            | Tag::TextUtf16
            | Tag::BigInt
            | Tag::Seen
            | Tag::Hole
            | Tag::End => return Err(self.broken()),
        };
        self.objects[place] = Some(made.clone());
        Ok(made)
    }

    /// Key and value each, up to `End`.
    fn properties(&mut self, object: &Object<'js>) -> Result<()> {
        loop {
            let tag = self.tag()?;
            let key = match tag {
                Tag::End => return Ok(()),
                Tag::Text | Tag::TextUtf16 => self.tagged(tag)?,
                Tag::Undefined
                | Tag::Null
                | Tag::False
                | Tag::True
                | Tag::Int
                | Tag::Float
                | Tag::BigInt
                | Tag::Seen
                | Tag::Object
                | Tag::Array
                | Tag::SparseArray
                | Tag::Date
                | Tag::RegExp
                | Tag::Map
                | Tag::Set
                | Tag::Buffer
                | Tag::View
                | Tag::DataView
                | Tag::Error
                | Tag::DomException
                | Tag::Boxed
                | Tag::External
                | Tag::Hole => return Err(self.broken()),
            };
            let value = self.value()?;
            raw::define(object, &key, &value)?;
        }
    }

    /// As `properties`, though message, stack and cause of an error are not enumerable.
    fn error_properties(&mut self, error: &Object<'js>) -> Result<()> {
        let holder = Object::new(self.ctx.clone())?;
        self.properties(&holder)?;
        self.helpers.call("fillError", (error.clone(), holder))
    }

    fn array(&mut self, place: usize) -> Result<Value<'js>> {
        let length = self.count()?;
        let array = Array::new(self.ctx.clone())?;
        self.objects[place] = Some(array.clone().into_value());
        let mut holes_at_end = false;
        for index in 0..length {
            let tag = self.tag()?;
            holes_at_end = tag == Tag::Hole;
            if !holes_at_end {
                let value = self.tagged(tag)?;
                raw::define_index(array.as_object(), index as u32, &value)?;
            }
        }
        if holes_at_end {
            array.as_object().set("length", length as f64)?;
        }
        Ok(array.into_value())
    }

    fn map(&mut self, place: usize) -> Result<Value<'js>> {
        let count = self.count()?;
        let map: Value<'js> = self.helpers.call("makeMap", ())?;
        self.objects[place] = Some(map.clone());
        for _ in 0..count {
            let (key, value) = (self.value()?, self.value()?);
            self.helpers.call::<()>("mapSet", (map.clone(), key, value))?;
        }
        Ok(map)
    }

    fn set(&mut self, place: usize) -> Result<Value<'js>> {
        let count = self.count()?;
        let set: Value<'js> = self.helpers.call("makeSet", ())?;
        self.objects[place] = Some(set.clone());
        for _ in 0..count {
            let value = self.value()?;
            self.helpers.call::<()>("setAdd", (set.clone(), value))?;
        }
        Ok(set)
    }

    fn view(&mut self) -> Result<Value<'js>> {
        let kind = usize::from(self.byte()?);
        let (offset, length) = (self.varint()?, self.varint()?);
        let (Some(name), Some(width)) = (VIEWS.get(kind), VIEW_WIDTHS.get(kind)) else { return Err(self.broken()) };
        let width = *width as u64;
        if offset % width != 0 || length % width != 0 {
            return Err(self.broken());
        }
        let buffer = self.buffer(offset, length)?;
        self.helpers.call("makeView", (*name, buffer, offset as f64, (length / width) as f64))
    }

    /// The buffer of a view, which must hold what the view shows.
    fn buffer(&mut self, offset: u64, length: u64) -> Result<Value<'js>> {
        let value = self.value()?;
        let size = ArrayBuffer::from_value(value.clone()).map(|buffer| buffer.len() as u64);
        match (size, offset.checked_add(length)) {
            (Some(size), Some(end)) if end <= size => Ok(value),
            (Some(_) | None, Some(_) | None) => Err(self.broken()),
        }
    }
}
