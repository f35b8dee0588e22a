//! Compression by chunks, for CompressionStream and DecompressionStream.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};
use rquickjs::prelude::MutFn;
use rquickjs::{Ctx, Exception, Function, Object, Result};

use super::value::Bytes;

/// How much one chunk may grow to when it is decompressed: a bomb ends here.
const CHUNK_LIMIT_BYTES: usize = 64 << 20;

/// Puts `compressor(format)` and `decompressor(format)` on `ops`. What they give is a function `(bytes, last)` to the bytes that are
/// ready, or null for broken data.
pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>) -> Result<()> {
    ops.set(
        "compressor",
        Function::new(ctx.clone(), |ctx: Ctx<'js>, format: String| step(ctx, Coder::compressor(&format)))?,
    )?;
    ops.set(
        "decompressor",
        Function::new(ctx.clone(), |ctx: Ctx<'js>, format: String| step(ctx, Coder::decompressor(&format)))?,
    )?;
    Ok(())
}

fn step<'js>(ctx: Ctx<'js>, coder: Option<Coder>) -> Result<Option<Function<'js>>> {
    let Some(coder) = coder else { return Ok(None) };
    let mut coder = Some(coder);
    let run = move |ctx: Ctx<'js>, bytes: Bytes, last: bool| -> Result<Option<Bytes>> {
        let Some(running) = coder.as_mut() else {
            return Err(Exception::throw_type(&ctx, "the stream has ended"));
        };
        if running.write(&bytes.0).is_err() {
            coder = None;
            return Ok(None);
        }
        let ready = std::mem::take(&mut running.sink().0);
        if !last {
            return Ok(Some(Bytes(ready)));
        }
        let Some(ended) = coder.take() else { return Ok(None) };
        Ok(ended.finish().ok().map(|rest| Bytes([ready, rest].concat())))
    };
    Function::new(ctx, MutFn::new(run)).map(Some)
}

/// Takes what comes out, up to a limit.
#[derive(Default)]
struct Sink(Vec<u8>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > CHUNK_LIMIT_BYTES {
            return Err(std::io::Error::other("the chunk grows too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum Coder {
    Gzip(GzEncoder<Sink>),
    Zlib(ZlibEncoder<Sink>),
    Raw(DeflateEncoder<Sink>),
    FromGzip(GzDecoder<Sink>),
    FromZlib(ZlibDecoder<Sink>),
    FromRaw(DeflateDecoder<Sink>),
}

impl Coder {
    fn compressor(format: &str) -> Option<Self> {
        let level = Compression::default();
        match format {
            "gzip" => Some(Self::Gzip(GzEncoder::new(Sink::default(), level))),
            "deflate" => Some(Self::Zlib(ZlibEncoder::new(Sink::default(), level))),
            "deflate-raw" => Some(Self::Raw(DeflateEncoder::new(Sink::default(), level))),
            _ => None,
        }
    }

    fn decompressor(format: &str) -> Option<Self> {
        match format {
            "gzip" => Some(Self::FromGzip(GzDecoder::new(Sink::default()))),
            "deflate" => Some(Self::FromZlib(ZlibDecoder::new(Sink::default()))),
            "deflate-raw" => Some(Self::FromRaw(DeflateDecoder::new(Sink::default()))),
            _ => None,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Gzip(coder) => coder.write_all(bytes),
            Self::Zlib(coder) => coder.write_all(bytes),
            Self::Raw(coder) => coder.write_all(bytes),
            Self::FromGzip(coder) => coder.write_all(bytes),
            Self::FromZlib(coder) => coder.write_all(bytes),
            Self::FromRaw(coder) => coder.write_all(bytes),
        }
    }

    fn sink(&mut self) -> &mut Sink {
        match self {
            Self::Gzip(coder) => coder.get_mut(),
            Self::Zlib(coder) => coder.get_mut(),
            Self::Raw(coder) => coder.get_mut(),
            Self::FromGzip(coder) => coder.get_mut(),
            Self::FromZlib(coder) => coder.get_mut(),
            Self::FromRaw(coder) => coder.get_mut(),
        }
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        let sink = match self {
            Self::Gzip(coder) => coder.finish(),
            Self::Zlib(coder) => coder.finish(),
            Self::Raw(coder) => coder.finish(),
            Self::FromGzip(coder) => coder.finish(),
            Self::FromZlib(coder) => coder.finish(),
            Self::FromRaw(coder) => coder.finish(),
        };
        sink.map(|sink| sink.0)
    }
}
