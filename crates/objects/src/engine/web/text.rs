//! Text to bytes and back: UTF-8 and the legacy encodings, base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use encoding_rs::{Decoder, DecoderResult, Encoding};
use rquickjs::prelude::MutFn;
use rquickjs::{Ctx, Exception, Function, Object, Result};

use super::value::Bytes;

/// As the forgiving decoder of the Infra standard has it: padding may be there or not, spare bits are dropped.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>) -> Result<()> {
    ops.set("utf8Encode", Function::new(ctx.clone(), |text: String| Bytes(text.into_bytes()))?)?;
    ops.set("utf8Decode", Function::new(ctx.clone(), |bytes: Bytes| utf8_decode(&bytes.0))?)?;
    ops.set(
        "encodingFor",
        Function::new(ctx.clone(), |label: String| encoding(&label).map(|found| found.name().to_ascii_lowercase()))?,
    )?;
    ops.set("decodeOnce", Function::new(ctx.clone(), decode_once)?)?;
    ops.set("decoder", Function::new(ctx.clone(), decoder)?)?;
    ops.set("atob", Function::new(ctx.clone(), |text: String| atob(&text))?)?;
    ops.set("btoa", Function::new(ctx.clone(), |text: String| btoa(&text))?)?;
    ops.set(
        "base64url",
        Function::new(ctx.clone(), |bytes: Bytes| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.0))?,
    )?;
    ops.set("fromBase64url", Function::new(ctx.clone(), |text: String| from_base64url(&text))?)?;
    Ok(())
}

/// As `Body.text()` and blobs decode: a byte order mark goes, what is no UTF-8 becomes U+FFFD.
fn utf8_decode(bytes: &[u8]) -> String {
    encoding_rs::UTF_8.decode_with_bom_removal(bytes).0.into_owned()
}

fn encoding(label: &str) -> Option<&'static Encoding> {
    Encoding::for_label_no_replacement(label.as_bytes())
}

fn new_decoder(ctx: &Ctx<'_>, label: &str, ignore_bom: bool) -> Result<Decoder> {
    let Some(encoding) = encoding(label) else { return Err(Exception::throw_range(ctx, "there is no such encoding")) };
    Ok(if ignore_bom { encoding.new_decoder_without_bom_handling() } else { encoding.new_decoder_with_bom_removal() })
}

fn decode_once(ctx: Ctx<'_>, label: String, fatal: bool, ignore_bom: bool, bytes: Bytes) -> Result<Option<String>> {
    let mut decoder = new_decoder(&ctx, &label, ignore_bom)?;
    decode(&ctx, &mut decoder, fatal, &bytes.0, true)
}

/// A function `(bytes, last)` that decodes bytes as they come.
fn decoder<'js>(ctx: Ctx<'js>, label: String, fatal: bool, ignore_bom: bool) -> Result<Function<'js>> {
    let mut decoder = new_decoder(&ctx, &label, ignore_bom)?;
    Function::new(
        ctx,
        MutFn::new(move |ctx: Ctx<'js>, bytes: Bytes, last: bool| decode(&ctx, &mut decoder, fatal, &bytes.0, last)),
    )
}

/// `None` where the bytes are malformed and that is fatal.
fn decode(ctx: &Ctx<'_>, decoder: &mut Decoder, fatal: bool, bytes: &[u8], last: bool) -> Result<Option<String>> {
    let room = if fatal {
        decoder.max_utf8_buffer_length_without_replacement(bytes.len())
    } else {
        decoder.max_utf8_buffer_length(bytes.len())
    };
    let Some(room) = room else { return Err(Exception::throw_range(ctx, "the input is too long")) };
    let mut text = String::with_capacity(room);
    if fatal {
        return Ok(match decoder.decode_to_string_without_replacement(bytes, &mut text, last).0 {
            DecoderResult::InputEmpty => Some(text),
            DecoderResult::OutputFull | DecoderResult::Malformed(..) => None,
        });
    }
    let (_, read, _) = decoder.decode_to_string(bytes, &mut text, last);
    debug_assert_eq!(read, bytes.len(), "the room asked for is enough");
    Ok(Some(text))
}

fn atob(text: &str) -> Option<String> {
    let mut data: Vec<u8> =
        text.bytes().filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')).collect();
    if data.len().is_multiple_of(4) {
        for _ in 0..2 {
            if data.last() == Some(&b'=') {
                data.pop();
            }
        }
    }
    if data.len() % 4 == 1 || data.contains(&b'=') {
        return None;
    }
    FORGIVING.decode(data).ok().map(|bytes| bytes.into_iter().map(char::from).collect())
}

fn btoa(text: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = text.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect();
    bytes.map(|bytes| STANDARD.encode(bytes))
}

fn from_base64url(text: &str) -> Option<Bytes> {
    let engine = GeneralPurpose::new(
        &base64::alphabet::URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    engine.decode(text).ok().map(Bytes)
}
