//! Follows the frames of one direction of a WebSocket (RFC 6455) while its bytes pass. Holds nothing of them but the head of
//! the frame that is under way; whoever wants to know what a message says is told it piece by piece ([`Reader`]).

/// How long the head of a frame can be: two bytes, eight of a length, four of a mask.
const MAX_HEAD_BYTES: usize = 14;
/// The longest content of a control frame.
pub(super) const MAX_CONTROL_BYTES: usize = 125;
/// Bytes that are unmasked in one go, on the stack.
const UNMASKED_BYTES: usize = 512;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// What a message's sender calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
}

/// Who is told what passes.
pub(super) trait Reader {
    /// A message begins; whether its content is wanted.
    fn begin(&mut self, kind: Kind) -> bool;
    /// The next of its content; whether more of it is wanted.
    fn content(&mut self, piece: &[u8]) -> bool;
    /// The message is whole.
    fn end(&mut self);
    /// A control frame.
    fn control(&mut self, opcode: u8, content: &[u8]);
}

/// What no peer of ours sends; from there on nobody can tell what the bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("a frame has reserved bits, though no extension was agreed on")]
    Reserved,
    #[error("a frame is of the unknown kind {0}")]
    Opcode(u8),
    #[error("a control frame is in pieces or too long")]
    Control,
    #[error("a piece of a message is where none was begun, or a message begins within another")]
    Order,
    #[error("a frame's length is out of bounds")]
    Length,
}

#[derive(Debug, Clone, Copy)]
struct Payload {
    left: u64,
    /// All zero where the frame is not masked.
    mask: [u8; 4],
    is_masked: bool,
    /// Where in the mask the next byte is.
    phase: usize,
    opcode: u8,
    is_final: bool,
}

#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; MAX_HEAD_BYTES],
    head_bytes: usize,
    payload: Option<Payload>,
    /// A message of several frames is under way.
    is_within: bool,
    is_wanted: bool,
    control: [u8; MAX_CONTROL_BYTES],
    control_bytes: usize,
    broken: Option<Broken>,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            head: [0; MAX_HEAD_BYTES],
            head_bytes: 0,
            payload: None,
            is_within: false,
            is_wanted: false,
            control: [0; MAX_CONTROL_BYTES],
            control_bytes: 0,
            broken: None,
        }
    }
}

impl Frames {
    /// Whether the next byte begins a message: where another can be put between.
    pub(super) fn is_between(&self) -> bool {
        self.head_bytes == 0 && self.payload.is_none() && !self.is_within && self.broken.is_none()
    }

    /// Follows the next bytes.
    ///
    /// # Errors
    /// Once broken, always broken, in the same way.
    pub(super) fn feed(&mut self, mut bytes: &[u8], reader: &mut impl Reader) -> Result<(), Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        while !bytes.is_empty() {
            let taken = match self.payload {
                Some(payload) => self.pass(payload, bytes, reader),
                None => match self.begin(bytes, reader) {
                    Ok(taken) => taken,
                    Err(broken) => {
                        self.broken = Some(broken);
                        return Err(broken);
                    }
                },
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Takes what there is of a frame's head; says how many bytes that was.
    fn begin(&mut self, bytes: &[u8], reader: &mut impl Reader) -> Result<usize, Broken> {
        let mut taken = 0;
        while taken < bytes.len() {
            self.head[self.head_bytes] = bytes[taken];
            self.head_bytes += 1;
            taken += 1;
            if self.head_bytes >= 2 && self.head_bytes == self.expected_head_bytes() {
                let payload = self.read_head()?;
                self.head_bytes = 0;
                self.open(payload, reader);
                break;
            }
        }
        Ok(taken)
    }

    fn expected_head_bytes(&self) -> usize {
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            0..=125 | 128.. => 0,
        };
        2 + length + if self.head[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn read_head(&self) -> Result<Payload, Broken> {
        let [first, second, ..] = self.head;
        if first & 0x70 != 0 {
            return Err(Broken::Reserved);
        }
        let (opcode, is_final) = (first & 0x0f, first & 0x80 != 0);
        let (left, length_bytes) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([self.head[2], self.head[3]])), 2),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.head[2..10]);
                (u64::from_be_bytes(length), 8)
            }
            short => (u64::from(short), 0),
        };
        if left >> 63 != 0 {
            return Err(Broken::Length);
        }
        match opcode {
            CONTINUATION if !self.is_within => return Err(Broken::Order),
            TEXT | BINARY if self.is_within => return Err(Broken::Order),
            CLOSE | PING | PONG if !is_final || left > MAX_CONTROL_BYTES as u64 => return Err(Broken::Control),
            CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG => {}
            other => return Err(Broken::Opcode(other)),
        }
        let is_masked = second & 0x80 != 0;
        let mut mask = [0; 4];
        if is_masked {
            mask.copy_from_slice(&self.head[2 + length_bytes..6 + length_bytes]);
        }
        Ok(Payload { left, mask, is_masked, phase: 0, opcode, is_final })
    }

    fn open(&mut self, payload: Payload, reader: &mut impl Reader) {
        match payload.opcode {
            TEXT | BINARY => {
                let kind = if payload.opcode == TEXT { Kind::Text } else { Kind::Binary };
                self.is_wanted = reader.begin(kind);
                self.is_within = true;
            }
            CONTINUATION => {}
            _ => self.control_bytes = 0,
        }
        self.payload = Some(payload);
        if payload.left == 0 {
            self.close(payload, reader);
        }
    }

    /// Takes what there is of a frame's content; says how many bytes that was.
    fn pass(&mut self, mut payload: Payload, bytes: &[u8], reader: &mut impl Reader) -> usize {
        let taken = usize::try_from(payload.left).unwrap_or(usize::MAX).min(bytes.len());
        let is_control = payload.opcode >= CLOSE;
        // What is not wanted stays so until the frame's end; the next frame has a mask of its own.
        if is_control || self.is_wanted {
            self.unmask(&mut payload, &bytes[..taken], reader);
        }
        payload.left -= taken as u64;
        self.payload = Some(payload);
        if payload.left == 0 {
            self.close(payload, reader);
        }
        taken
    }

    fn unmask(&mut self, payload: &mut Payload, bytes: &[u8], reader: &mut impl Reader) {
        let is_control = payload.opcode >= CLOSE;
        if !payload.is_masked {
            self.tell(is_control, bytes, reader);
            return;
        }
        let mut unmasked = [0; UNMASKED_BYTES];
        for piece in bytes.chunks(UNMASKED_BYTES) {
            for (to, from) in unmasked.iter_mut().zip(piece) {
                *to = from ^ payload.mask[payload.phase];
                payload.phase = (payload.phase + 1) % 4;
            }
            self.tell(is_control, &unmasked[..piece.len()], reader);
        }
    }

    fn tell(&mut self, is_control: bool, piece: &[u8], reader: &mut impl Reader) {
        if is_control {
            self.control[self.control_bytes..self.control_bytes + piece.len()].copy_from_slice(piece);
            self.control_bytes += piece.len();
        } else if self.is_wanted {
            self.is_wanted = reader.content(piece);
        }
    }

    fn close(&mut self, payload: Payload, reader: &mut impl Reader) {
        self.payload = None;
        if payload.opcode >= CLOSE {
            reader.control(payload.opcode, &self.control[..self.control_bytes]);
        } else if payload.is_final {
            self.is_within = false;
            reader.end();
        }
    }
}

/// A whole message, or a control frame, as one frame; masked where it goes to a server.
pub(super) fn frame(opcode: u8, content: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(content.len() + MAX_HEAD_BYTES);
    frame.push(0x80 | opcode);
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match (u8::try_from(content.len()), u16::try_from(content.len())) {
        (Ok(short @ 0..=125), _) => frame.push(masked | short),
        (_, Ok(length)) => {
            frame.push(masked | 126);
            frame.extend(length.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(masked | 127);
            frame.extend((content.len() as u64).to_be_bytes());
        }
    }
    match mask {
        Some(mask) => {
            frame.extend(mask);
            frame.extend(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        None => frame.extend(content),
    }
    frame
}

pub(super) fn opcode(kind: Kind) -> u8 {
    match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What was told: messages whole, and control frames.
    #[derive(Debug, Default, Clone, PartialEq, Eq)]
    struct Told {
        messages: Vec<(u8, Vec<u8>)>,
        open: Option<(u8, Vec<u8>)>,
        controls: Vec<(u8, Vec<u8>)>,
    }

    impl Reader for Told {
        fn begin(&mut self, kind: Kind) -> bool {
            assert!(self.open.replace((opcode(kind), Vec::new())).is_none());
            true
        }
        fn content(&mut self, piece: &[u8]) -> bool {
            self.open.as_mut().unwrap().1.extend(piece);
            true
        }
        fn end(&mut self) {
            self.messages.push(self.open.take().unwrap());
        }
        fn control(&mut self, opcode: u8, content: &[u8]) {
            self.controls.push((opcode, content.to_vec()));
        }
    }

    /// Frame `content` as `opcode`, in `pieces` frames with a ping between them.
    fn fragmented(opcode: u8, content: &[u8], pieces: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let size = content.len().div_ceil(pieces).max(1);
        let chunks: Vec<&[u8]> = if content.is_empty() { vec![&[]] } else { content.chunks(size).collect() };
        let mut bytes = Vec::new();
        for (at, chunk) in chunks.iter().enumerate() {
            let mut one = frame(if at == 0 { opcode } else { CONTINUATION }, chunk, mask);
            if at + 1 < chunks.len() {
                one[0] &= 0x7f;
                bytes.extend(one);
                bytes.extend(frame(PING, b"?", mask));
            } else {
                bytes.extend(one);
            }
        }
        bytes
    }

    fn fed(bytes: &[u8], cuts: &[usize]) -> (Result<(), Broken>, Told, bool) {
        let (mut frames, mut told) = (Frames::default(), Told::default());
        let mut rest = bytes;
        let mut result = Ok(());
        for cut in cuts.iter().cycle().map(|cut| cut % 700 + 1) {
            if rest.is_empty() || cuts.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            result = result.and(frames.feed(piece, &mut told));
            rest = after;
        }
        result = result.and(frames.feed(rest, &mut told));
        let is_between = frames.is_between();
        (result, told, is_between)
    }

    proptest! {
        #[test]
        fn messages_are_read_however_they_are_cut(
            messages in prop::collection::vec((1u8..=2, prop::collection::vec(any::<u8>(), 0..2_000), 1usize..5), 1..6),
            mask in prop::option::of(any::<[u8; 4]>()),
            cuts in prop::collection::vec(any::<usize>(), 0..9),
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|(op, content, n)| fragmented(*op, content, *n, mask)).collect();
            let (result, told, is_between) = fed(&bytes, &cuts);
            prop_assert_eq!(result, Ok(()));
            prop_assert!(is_between);
            let expected: Vec<(u8, Vec<u8>)> = messages.into_iter().map(|(op, content, _)| (op, content)).collect();
            prop_assert_eq!(told.messages, expected);
            prop_assert!(told.controls.iter().all(|control| *control == (PING, b"?".to_vec())));
        }

        #[test]
        fn any_bytes_are_survived_and_read_alike_however_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..3_000), cuts in prop::collection::vec(any::<usize>(), 1..9),
        ) {
            prop_assert_eq!(fed(&bytes, &cuts), fed(&bytes, &[]));
        }
    }

    #[test]
    fn long_frames_are_followed_without_being_held() {
        let (mut frames, mut told) = (Frames::default(), Nothing(0));
        let mut head = vec![0x82, 127];
        head.extend((5u64 << 30).to_be_bytes());
        frames.feed(&head, &mut told).unwrap();
        let chunk = vec![7; 1 << 20];
        for _ in 0..5 << 10 {
            assert!(!frames.is_between());
            frames.feed(&chunk, &mut told).unwrap();
        }
        assert!(frames.is_between());
        assert_eq!(told.0, 1, "the content is not told to whoever does not want it");
    }

    struct Nothing(u32);
    impl Reader for Nothing {
        fn begin(&mut self, _: Kind) -> bool {
            true
        }
        fn content(&mut self, _: &[u8]) -> bool {
            self.0 += 1;
            false
        }
        fn end(&mut self) {}
        fn control(&mut self, _: u8, _: &[u8]) {}
    }

    #[test]
    fn what_nobody_may_send_breaks_it_for_good() {
        let check = |bytes: &[u8], expected: Broken| {
            let (mut frames, mut told) = (Frames::default(), Told::default());
            assert_eq!(frames.feed(bytes, &mut told), Err(expected), "{bytes:?}");
            assert_eq!(frames.feed(&frame(TEXT, b"a", None), &mut told), Err(expected));
            assert!(told.messages.is_empty());
        };
        check(&[0xc1, 0], Broken::Reserved);
        check(&[0x83, 0], Broken::Opcode(3));
        check(&[0x8f, 0], Broken::Opcode(15));
        check(&[0x09, 0], Broken::Control);
        check(&[0x89, 126, 0, 126], Broken::Control);
        check(&[0x80, 0], Broken::Order);
        check(&[0x01, 0, 0x81, 0], Broken::Order);
        check(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Broken::Length);
    }
}
