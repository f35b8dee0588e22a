//! Values to bytes.

use std::collections::HashMap;

use rquickjs::object::Filter;
use rquickjs::{Array, Ctx, Exception, Function, Object, Result, String as JsString, Type, Value};

use super::{DEPTH_LIMIT, Helpers, OBJECTS_LIMIT, Tag, VERSION};
use crate::engine::raw;
use crate::engine::realm::ClassIds;

pub(super) fn encode<'js>(
    ctx: &Ctx<'js>,
    value: Value<'js>,
    helpers: Helpers<'js>,
    external: Option<Function<'js>>,
    classes: ClassIds,
) -> Result<Vec<u8>> {
    let mut writer = Writer {
        ctx,
        helpers,
        external,
        classes,
        out: vec![VERSION],
        numbers: HashMap::new(),
        held: Vec::new(),
        depth: 0,
    };
    writer.value(value)?;
    Ok(writer.out)
}

struct Writer<'a, 'js> {
    ctx: &'a Ctx<'js>,
    helpers: Helpers<'js>,
    external: Option<Function<'js>>,
    classes: ClassIds,
    out: Vec<u8>,
    numbers: HashMap<usize, u32>,
    /// Keeps every object met alive, so that no address in `numbers` is given to another meanwhile.
    held: Vec<Value<'js>>,
    depth: usize,
}

impl<'js> Writer<'_, 'js> {
    fn tag(&mut self, tag: Tag) {
        self.out.push(tag as u8);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &JsString<'js>) -> Result<()> {
        if let Ok(utf8) = text.to_string() {
            self.tag(Tag::Text);
            self.bytes(utf8.as_bytes());
            return Ok(());
        }
        let units = raw::utf16(text)?;
        self.tag(Tag::TextUtf16);
        self.varint(units.len() as u64);
        self.out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        Ok(())
    }

    fn value(&mut self, value: Value<'js>) -> Result<()> {
        match value.type_of() {
            Type::Undefined | Type::Uninitialized => self.tag(Tag::Undefined),
            Type::Null => self.tag(Tag::Null),
            Type::Bool => self.tag(if value.as_bool() == Some(true) { Tag::True } else { Tag::False }),
            Type::Int => {
                let int = i64::from(value.as_int().unwrap_or_default());
                self.tag(Tag::Int);
                self.varint(((int << 1) ^ (int >> 63)) as u64);
            }
            Type::Float => {
                let float = value.as_float().unwrap_or(f64::NAN);
                self.tag(Tag::Float);
                self.out.extend_from_slice(&float.to_le_bytes());
            }
            Type::String => {
                let text: JsString<'js> = value.get()?;
                self.text(&text)?;
            }
            Type::BigInt => {
                let digits: String = self.helpers.call("digits", (value,))?;
                self.tag(Tag::BigInt);
                self.bytes(digits.as_bytes());
            }
            Type::Symbol | Type::Module | Type::Unknown => return Err(self.refuse(&value)),
            Type::Array
            | Type::Constructor
            | Type::Function
            | Type::Promise
            | Type::Exception
            | Type::Proxy
            | Type::Object => return self.object(value),
        }
        Ok(())
    }

    fn refuse(&self, value: &Value<'js>) -> rquickjs::Error {
        let what: Result<String> = self.helpers.call("describe", (value.clone(),));
        match what {
            Ok(what) => self.helpers.refuse(self.ctx, &format!("{what} could not be cloned.")),
            Err(error) => error,
        }
    }

    fn object(&mut self, value: Value<'js>) -> Result<()> {
        let address = raw::address(&value);
        if let Some(number) = self.numbers.get(&address) {
            let number = u64::from(*number);
            self.tag(Tag::Seen);
            self.varint(number);
            return Ok(());
        }
        if self.depth >= DEPTH_LIMIT {
            return Err(Exception::throw_range(self.ctx, "Maximum call stack size exceeded"));
        }
        if self.held.len() >= OBJECTS_LIMIT {
            return Err(Exception::throw_range(self.ctx, "the value holds too many objects"));
        }
        self.numbers.insert(address, self.held.len() as u32);
        self.held.push(value.clone());
        self.depth += 1;
        let written = self.new_object(value);
        self.depth -= 1;
        written
    }

    fn new_object(&mut self, value: Value<'js>) -> Result<()> {
        let classes = self.classes;
        let id = raw::class_id(&value);
        let Some(object) = value.as_object().cloned() else { return Err(self.refuse(&value)) };
        if id == classes.array {
            self.array(&object)
        } else if id == classes.object {
            self.plain(&value, &object)
        } else if id == classes.arguments || id == classes.arguments_sloppy {
            self.tag(Tag::Object);
            self.properties(&object)
        } else if id == classes.date {
            let time: f64 = self.helpers.call("time", (value,))?;
            self.tag(Tag::Date);
            self.out.extend_from_slice(&time.to_le_bytes());
            Ok(())
        } else if id == classes.regexp {
            let source: String = self.helpers.call("source", (value.clone(),))?;
            let flags: String = self.helpers.call("flags", (value,))?;
            self.tag(Tag::RegExp);
            self.bytes(source.as_bytes());
            self.bytes(flags.as_bytes());
            Ok(())
        } else if id == classes.map {
            let flat: Array<'js> = self.helpers.call("entries", (value,))?;
            self.tag(Tag::Map);
            self.varint(flat.len() as u64 / 2);
            self.items(&flat)
        } else if id == classes.set {
            let flat: Array<'js> = self.helpers.call("members", (value,))?;
            self.tag(Tag::Set);
            self.varint(flat.len() as u64);
            self.items(&flat)
        } else if id == classes.buffer {
            self.buffer(&value)
        } else if id == classes.error {
            self.error(value)
        } else if id == classes.dom_exception {
            let name: String = self.helpers.call("wellFormed", (object.get::<_, Value<'js>>("name")?,))?;
            let message: String = self.helpers.call("wellFormed", (object.get::<_, Value<'js>>("message")?,))?;
            self.tag(Tag::DomException);
            self.bytes(name.as_bytes());
            self.bytes(message.as_bytes());
            self.value(object.get("stack")?)
        } else if [classes.number, classes.string, classes.boolean, classes.bigint].contains(&id) {
            let primitive: Value<'js> = self.helpers.call("unbox", (value,))?;
            self.tag(Tag::Boxed);
            self.value(primitive)
        } else if id == classes.data_view || classes.views.contains(&id) {
            self.view(value, id)
        } else {
            self.foreign(&value)
        }
    }

    /// An object of no built-in class: a plain one, an instance of a user's class, or one of the platform's.
    fn plain(&mut self, value: &Value<'js>, object: &Object<'js>) -> Result<()> {
        let ordinary: bool = self.helpers.call("ordinary", (value.clone(),))?;
        if !ordinary {
            if self.try_external(value)? {
                return Ok(());
            }
            if self.helpers.call("isPlatform", (value.clone(),))? {
                return Err(self.refuse(value));
            }
        }
        self.tag(Tag::Object);
        self.properties(object)
    }

    fn foreign(&mut self, value: &Value<'js>) -> Result<()> {
        if self.try_external(value)? { Ok(()) } else { Err(self.refuse(value)) }
    }

    fn try_external(&mut self, value: &Value<'js>) -> Result<bool> {
        let Some(external) = &self.external else { return Ok(false) };
        let number: Option<u32> = external.call((value.clone(),))?;
        let Some(number) = number else { return Ok(false) };
        self.tag(Tag::External);
        self.varint(u64::from(number));
        Ok(true)
    }

    fn items(&mut self, flat: &Array<'js>) -> Result<()> {
        for item in flat.iter::<Value<'js>>() {
            self.value(item?)?;
        }
        Ok(())
    }

    fn properties(&mut self, object: &Object<'js>) -> Result<()> {
        for key in object.own_keys::<JsString<'js>>(Filter::new().string().enum_only()) {
            let key = key?;
            let value: Value<'js> = object.get(key.clone().into_value())?;
            // The getter of an earlier property may have removed this one.
            if value.is_undefined() && !self.helpers.call::<bool>("hasOwn", (object.clone(), key.clone()))? {
                continue;
            }
            self.text(&key)?;
            self.value(value)?;
        }
        self.tag(Tag::End);
        Ok(())
    }

    fn array(&mut self, object: &Object<'js>) -> Result<()> {
        let length: u32 = object.get("length")?;
        let dense: bool = self.helpers.call("dense", (object.clone(), length))?;
        if !dense {
            self.tag(Tag::SparseArray);
            self.varint(u64::from(length));
            return self.properties(object);
        }
        self.tag(Tag::Array);
        self.varint(u64::from(length));
        for index in 0..length {
            let value: Value<'js> = object.get(index)?;
            // The getter of an earlier element may have shortened the array.
            if value.is_undefined() && !self.helpers.call::<bool>("hasOwn", (object.clone(), index))? {
                self.tag(Tag::Hole);
            } else {
                self.value(value)?;
            }
        }
        Ok(())
    }

    fn buffer(&mut self, value: &Value<'js>) -> Result<()> {
        let detached: bool = self.helpers.call("detached", (value.clone(),))?;
        if detached {
            return Err(self.helpers.refuse(self.ctx, "An ArrayBuffer is detached and could not be cloned."));
        }
        let bytes = raw::buffer_bytes(value).unwrap_or_default();
        self.tag(Tag::Buffer);
        self.bytes(&bytes);
        Ok(())
    }

    fn view(&mut self, value: Value<'js>, id: u32) -> Result<()> {
        let (buffer, offset, bytes): (Value<'js>, u64, u64) = {
            let parts: Array<'js> = self.helpers.call("view", (value,))?;
            (parts.get(0)?, parts.get::<f64>(1)? as u64, parts.get::<f64>(2)? as u64)
        };
        match self.classes.views.iter().position(|view| *view == id) {
            Some(kind) => {
                self.tag(Tag::View);
                self.out.push(kind as u8);
            }
            None => self.tag(Tag::DataView),
        }
        self.varint(offset);
        self.varint(bytes);
        self.value(buffer)
    }

    fn error(&mut self, value: Value<'js>) -> Result<()> {
        // [name, flat list of the properties to keep]
        let parts: Array<'js> = self.helpers.call("error", (value,))?;
        let name: String = parts.get(0)?;
        let properties: Array<'js> = parts.get(1)?;
        self.tag(Tag::Error);
        self.bytes(name.as_bytes());
        self.items(&properties)?;
        self.tag(Tag::End);
        Ok(())
    }
}
