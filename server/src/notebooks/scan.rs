//! Finds `header.msg_type` and `parent_header.msg_type` in a kernel's message of JSON, byte by byte, wherever they stand, without
//! holding the message: its content may be megabytes, and may come first.

/// The longest of Jupyter's types, with room; longer ones are nobody's.
const MAX_WORD_BYTES: usize = 32;
/// Deeper than this nothing is told apart; a message's own depth does not matter.
const DEEPEST: u32 = 3;

#[derive(Debug, Clone, Copy, Default)]
struct Text {
    bytes: [u8; MAX_WORD_BYTES],
    length: usize,
}

impl Text {
    fn push(&mut self, byte: u8) {
        if self.length < MAX_WORD_BYTES {
            self.bytes[self.length] = byte;
        }
        self.length = self.length.saturating_add(1);
    }
    /// Empty if it is too long, or no UTF-8.
    fn word(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// What is known of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word<'a> {
    NotYet,
    /// Empty where its object has none.
    Is(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Section {
    #[default]
    Other,
    Own,
    Parent,
}

#[derive(Debug, Default)]
pub(super) struct Scan {
    depth: u32,
    in_string: bool,
    is_escaped: bool,
    /// The next string is the name of a value.
    at_name: bool,
    text: Text,
    section: Section,
    /// The value that comes is the type of its section.
    at_type: bool,
    is_over: bool,
    own: Option<Text>,
    parent: Option<Text>,
}

impl Scan {
    pub(super) fn own(&self) -> Word<'_> {
        self.own.as_ref().map_or(Word::NotYet, |text| Word::Is(text.word()))
    }
    pub(super) fn parent(&self) -> Word<'_> {
        self.parent.as_ref().map_or(Word::NotYet, |text| Word::Is(text.word()))
    }
    /// The message is at its end, or is none.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn push(&mut self, byte: u8) {
        if self.in_string {
            self.within_string(byte);
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.text.length = 0;
            }
            b'{' => self.open(true),
            b'[' => self.open(false),
            b'}' | b']' => self.shut(),
            b':' => self.at_name = false,
            b',' => {
                self.at_type = false;
                self.at_name = self.depth <= 2;
                if self.depth == 1 {
                    self.section = Section::Other;
                }
            }
            _ => {}
        }
    }

    fn within_string(&mut self, byte: u8) {
        if self.is_escaped {
            self.is_escaped = false;
            self.text.push(byte);
        } else if byte == b'\\' {
            self.is_escaped = true;
            // No name or type that is looked for has one, so that it is none of them.
            self.text.push(byte);
        } else if byte == b'"' {
            self.in_string = false;
            self.string();
        } else {
            self.text.push(byte);
        }
    }

    fn string(&mut self) {
        match (self.depth, self.at_name) {
            (1, true) => {
                self.section = match self.text.word() {
                    "header" => Section::Own,
                    "parent_header" => Section::Parent,
                    _ => Section::Other,
                };
            }
            (2, true) => self.at_type = self.section != Section::Other && self.text.word() == "msg_type",
            (2, false) if self.at_type => {
                self.found(self.text);
                self.at_type = false;
            }
            (_, _) => {}
        }
    }

    fn found(&mut self, text: Text) {
        match self.section {
            Section::Own => self.own = Some(text),
            Section::Parent => self.parent = Some(text),
            Section::Other => {}
        }
    }

    fn open(&mut self, is_object: bool) {
        if self.depth == 0 && !is_object {
            self.is_over = true;
        }
        self.depth = self.depth.saturating_add(1);
        self.at_type = false;
        self.at_name = is_object && self.depth < DEEPEST;
        if self.depth == 2 && !is_object {
            self.section = Section::Other;
        }
    }

    fn shut(&mut self) {
        if self.depth == 2 {
            let is_missing = match self.section {
                Section::Own => self.own.is_none(),
                Section::Parent => self.parent.is_none(),
                Section::Other => false,
            };
            if is_missing {
                self.found(Text::default());
            }
            self.section = Section::Other;
        }
        self.depth = self.depth.saturating_sub(1);
        self.at_type = false;
        self.at_name = false;
        self.is_over |= self.depth == 0;
    }
}
