//! A stored value as a person reads it, about as JavaScript would write it. No code of the user's runs for it.

use super::{Tag, VERSION, VIEWS};

/// What lies deeper is left out.
const DEPTH_LIMIT: usize = 16;

/// Why reading ends before the value does.
enum Stop {
    /// There is no room for more.
    Full,
    /// These are no bytes of an encoding.
    Bad,
}

type Result<T = ()> = std::result::Result<T, Stop>;

/// The value in at most about `most` bytes; `None` of what is no encoding.
pub(in crate::engine) fn preview(bytes: &[u8], most: usize) -> Option<String> {
    let (version, rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut preview = Preview { rest, out: String::new(), most, depth: 0 };
    match preview.value() {
        Ok(()) => Some(preview.out),
        Err(Stop::Full) => {
            let end = (0..=most.min(preview.out.len())).rev().find(|end| preview.out.is_char_boundary(*end));
            preview.out.truncate(end.unwrap_or_default());
            preview.out.push('…');
            Some(preview.out)
        }
        Err(Stop::Bad) => None,
    }
}

struct Preview<'b> {
    rest: &'b [u8],
    out: String,
    most: usize,
    depth: usize,
}

impl<'b> Preview<'b> {
    fn say(&mut self, text: &str) -> Result {
        self.out.push_str(text);
        if self.out.len() > self.most { Err(Stop::Full) } else { Ok(()) }
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Stop::Bad)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        self.take(1)?.first().copied().ok_or(Stop::Bad)
    }

    fn tag(&mut self) -> Result<Tag> {
        Tag::from_byte(self.byte()?).ok_or(Stop::Bad)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Stop::Bad)
    }

    fn bytes(&mut self) -> Result<&'b [u8]> {
        let length = usize::try_from(self.varint()?).map_err(|_| Stop::Bad)?;
        self.take(length)
    }

    fn utf8(&mut self) -> Result<&'b str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Stop::Bad)
    }

    fn float(&mut self) -> Result<f64> {
        let bytes = self.take(8)?.try_into().map_err(|_| Stop::Bad)?;
        Ok(f64::from_le_bytes(bytes))
    }

    fn text(&mut self, tag: Tag) -> Result<String> {
        if tag == Tag::Text {
            return Ok(self.utf8()?.to_owned());
        }
        if tag != Tag::TextUtf16 {
            return Err(Stop::Bad);
        }
        let count = usize::try_from(self.varint()?).map_err(|_| Stop::Bad)?;
        let bytes = self.take(count.checked_mul(2).ok_or(Stop::Bad)?)?;
        let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        Ok(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    }

    fn value(&mut self) -> Result {
        let tag = self.tag()?;
        self.depth += 1;
        // What is deeper is read, so that what follows it is found, and not said.
        let mark = (self.depth > DEPTH_LIMIT).then_some(self.out.len());
        if self.depth > DEPTH_LIMIT * 4 {
            return Err(Stop::Full);
        }
        self.tagged(tag)?;
        self.depth -= 1;
        match mark {
            None => Ok(()),
            Some(mark) => {
                self.out.truncate(mark);
                self.say("…")
            }
        }
    }

    fn tagged(&mut self, tag: Tag) -> Result {
        match tag {
            Tag::Undefined => self.say("undefined"),
            Tag::Null => self.say("null"),
            Tag::False => self.say("false"),
            Tag::True => self.say("true"),
            Tag::Int => {
                let zigzag = self.varint()?;
                let int = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
                self.say(&int.to_string())
            }
            Tag::Float => {
                let float = self.float()?;
                self.say(&number(float))
            }
            Tag::Text | Tag::TextUtf16 => {
                let text = self.text(tag)?;
                self.say(&quoted(&text))
            }
            Tag::BigInt => {
                let digits = self.utf8()?;
                self.say(&format!("{digits}n"))
            }
            Tag::Seen => {
                self.varint()?;
                self.say("[seen before]")
            }
            Tag::Object => self.properties(),
            Tag::Array => self.items("[", "]", 1),
            Tag::SparseArray => {
                let length = self.varint()?;
                self.say(&format!("Array({length}) "))?;
                self.properties()
            }
            Tag::Date => {
                let ms = self.float()?;
                self.say(&format!("new Date({})", number(ms)))
            }
            Tag::RegExp => {
                let (source, flags) = (self.utf8()?, self.utf8()?);
                self.say(&format!("/{source}/{flags}"))
            }
            Tag::Map => self.items("Map {", "}", 2),
            Tag::Set => self.items("Set {", "}", 1),
            Tag::Buffer => {
                let length = self.bytes()?.len();
                self.say(&format!("ArrayBuffer({length})"))
            }
            Tag::View => {
                let kind = VIEWS.get(usize::from(self.byte()?)).ok_or(Stop::Bad)?;
                self.view(kind)
            }
            Tag::DataView => self.view("DataView"),
            Tag::Error => {
                let name = self.utf8()?;
                self.say(&format!("{name} "))?;
                self.properties()
            }
            Tag::DomException => {
                let (name, message) = (self.utf8()?, self.utf8()?);
                self.say(&format!("{name}: {}", quoted(message)))?;
                self.unsaid()
            }
            Tag::Boxed => self.value(),
            Tag::External => {
                self.varint()?;
                self.say("[external]")
            }
            Tag::Hole => self.say("<empty>"),
            Tag::End => Err(Stop::Bad),
        }
    }

    /// Reads a value and says nothing of it.
    fn unsaid(&mut self) -> Result {
        let mark = self.out.len();
        self.value()?;
        self.out.truncate(mark);
        Ok(())
    }

    fn view(&mut self, class: &str) -> Result {
        let (_offset, bytes) = (self.varint()?, self.varint()?);
        self.unsaid()?;
        self.say(&format!("{class} of {bytes} bytes"))
    }

    /// So many groups of values as the next number says; in a group of two the second belongs to the first.
    fn items(&mut self, open: &str, close: &str, group: usize) -> Result {
        let count = self.varint()?;
        self.say(open)?;
        for index in 0..count {
            self.say(if index == 0 { "" } else { ", " })?;
            for part in 0..group {
                self.say(if part == 0 { "" } else { " => " })?;
                self.value()?;
            }
        }
        self.say(close)
    }

    fn properties(&mut self) -> Result {
        self.say("{")?;
        let mut separator = " ";
        loop {
            let tag = self.tag()?;
            if tag == Tag::End {
                return self.say(if separator == " " { "}" } else { " }" });
            }
            let name = self.text(tag)?;
            let is_plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
            self.say(separator)?;
            separator = ", ";
            self.say(&if is_plain { name } else { quoted(&name) })?;
            self.say(": ")?;
            self.value()?;
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn number(float: f64) -> String {
    if float.is_infinite() {
        return if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    float.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Option<&str>) {
        assert_eq!(preview(bytes, 60).as_deref(), expected, "{bytes:?}");
    }

    #[test]
    fn values_are_said_as_javascript_writes_them() {
        check(&[1, 4, 8], Some("4"));
        check(&[1, 4, 9], Some("-5"));
        check(&[1, 3], Some("true"));
        check(&[1, 6, 3, b'a', b'"', b'b'], Some(r#""a\"b""#));
        // { a: [1, , "x"], "b c": Map { null => 7n } }
        let object = [
            &[1, 10, 6, 1, b'a', 11, 3, 4, 2, 24, 6, 1, b'x'][..],
            &[6, 3, b'b', b' ', b'c', 15, 1, 1, 8, 1, b'7', 25],
        ];
        check(&object.concat(), Some(r#"{ a: [1, <empty>, "x"], "b c": Map {null => 7n} }"#));
        check(&[1, 10, 25], Some("{}"));
        // A view of four bytes, of which it has two.
        check(&[1, 18, 1, 0, 2, 17, 4, 0, 0, 0, 0], Some("Uint8Array of 2 bytes"));
    }

    #[test]
    fn what_is_no_encoding_is_no_text_and_what_is_long_is_cut() {
        for bytes in [&[][..], &[2, 3], &[1], &[1, 99], &[1, 6, 200], &[1, 25], &[1, 10, 6, 1], &[1, 11, 3, 1]] {
            check(bytes, None);
        }
        let long = [&[1, 6, 100][..], &[b'x'; 100]].concat();
        check(&long, Some(&format!("\"{}…", "x".repeat(59))));
        // As many values as no memory has room for.
        check(&[1, 11, 255, 255, 255, 255, 15, 3], None);
        let deep = [&[1][..], &[11, 1].repeat(100_000)].concat();
        assert!(preview(&deep, 60).is_some_and(|text| text.ends_with('…')));
    }
}
