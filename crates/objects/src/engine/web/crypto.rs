//! What `crypto.subtle` computes: RSA, the curves of NIST and AES-GCM on AWS-LC, most else on ring, and what neither has on RustCrypto.
//! A key is bytes here: secrets raw, public keys of curves as points, private ones as PKCS #8, RSA keys as the structures of PKCS #1.

use std::num::NonZeroU32;

use aws_lc_rs::aead;
use md5::Digest as _;
use ring::{digest, hkdf, hmac, pbkdf2};
use rquickjs::prelude::MutFn;
use rquickjs::{Ctx, Exception, Function, Object, Result};

use super::value::Bytes;
use super::{ciphers, curves, rsa};

/// As much as one call of PBKDF2 or HKDF may give.
const DERIVED_LIMIT_BYTES: usize = 1 << 20;

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>) -> Result<()> {
    let set = |name: &str, function: Result<Function<'js>>| ops.set(name, function?);
    set(
        "digest",
        Function::new(ctx.clone(), |hash: String, data: Bytes| Hasher::new(&hash).map(|hasher| hasher.all(&data.0))),
    )?;
    set("digester", Function::new(ctx.clone(), digester))?;
    set("timingSafeEqual", Function::new(ctx.clone(), |a: Bytes, b: Bytes| same(&a.0, &b.0)))?;
    set(
        "hmacSign",
        Function::new(ctx.clone(), |hash: String, key: Bytes, data: Bytes| {
            hmac_of(&hash).map(|hash| Bytes(hmac::sign(&hmac::Key::new(hash, &key.0), &data.0).as_ref().to_vec()))
        }),
    )?;
    set(
        "hmacVerify",
        Function::new(ctx.clone(), |hash: String, key: Bytes, tag: Bytes, data: Bytes| {
            hmac_of(&hash).is_some_and(|hash| hmac::verify(&hmac::Key::new(hash, &key.0), &data.0, &tag.0).is_ok())
        }),
    )?;
    set(
        "aesSeal",
        Function::new(ctx.clone(), |key: Bytes, iv: Bytes, more: Bytes, data: Bytes| {
            aes_seal(&key.0, &iv.0, &more.0, data.0)
        }),
    )?;
    set(
        "aesOpen",
        Function::new(ctx.clone(), |key: Bytes, iv: Bytes, more: Bytes, data: Bytes| {
            aes_open(&key.0, &iv.0, &more.0, data.0)
        }),
    )?;
    set("pbkdf2", Function::new(ctx.clone(), derive_pbkdf2))?;
    set("hkdf", Function::new(ctx.clone(), derive_hkdf))?;
    ciphers::install(ctx, &set)?;
    curves::install(ctx, &set)?;
    rsa::install(ctx, &set)
}

pub(super) type Setter<'a, 'js> = &'a dyn Fn(&str, Result<Function<'js>>) -> Result<()>;

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

enum Hasher {
    Ring(digest::Context),
    Md5(md5::Md5),
}

impl Hasher {
    fn new(hash: &str) -> Option<Self> {
        Some(match hash {
            "MD5" => Self::Md5(md5::Md5::new()),
            "SHA-1" => Self::Ring(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            "SHA-256" => Self::Ring(digest::Context::new(&digest::SHA256)),
            "SHA-384" => Self::Ring(digest::Context::new(&digest::SHA384)),
            "SHA-512" => Self::Ring(digest::Context::new(&digest::SHA512)),
            _ => return None,
        })
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Ring(context) => context.update(data),
            Self::Md5(context) => context.update(data),
        }
    }

    fn finish(self) -> Bytes {
        match self {
            Self::Ring(context) => Bytes(context.finish().as_ref().to_vec()),
            Self::Md5(context) => Bytes(context.finalize().to_vec()),
        }
    }

    fn all(mut self, data: &[u8]) -> Bytes {
        self.update(data);
        self.finish()
    }
}

/// A function that takes chunks, and gives the digest when it is called with none.
fn digester<'js>(ctx: Ctx<'js>, hash: String) -> Result<Option<Function<'js>>> {
    let mut hasher = Hasher::new(&hash);
    if hasher.is_none() {
        return Ok(None);
    }
    let step = move |ctx: Ctx<'js>, chunk: Option<Bytes>| match (chunk, hasher.as_mut()) {
        (Some(chunk), Some(running)) => {
            running.update(&chunk.0);
            Ok(None)
        }
        (None, Some(_)) => Ok(hasher.take().map(Hasher::finish)),
        (Some(_) | None, None) => Err(Exception::throw_type(&ctx, "the digest has been taken")),
    };
    Function::new(ctx, MutFn::new(step)).map(Some)
}

fn hmac_of(hash: &str) -> Option<hmac::Algorithm> {
    match hash {
        "SHA-1" => Some(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        "SHA-256" => Some(hmac::HMAC_SHA256),
        "SHA-384" => Some(hmac::HMAC_SHA384),
        "SHA-512" => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn aes_key(key: &[u8]) -> Option<aead::LessSafeKey> {
    let algorithm = match key.len() {
        16 => &aead::AES_128_GCM,
        24 => &aead::AES_192_GCM,
        32 => &aead::AES_256_GCM,
        _ => return None,
    };
    aead::UnboundKey::new(algorithm, key).ok().map(aead::LessSafeKey::new)
}

fn aes_seal(key: &[u8], iv: &[u8], more: &[u8], mut data: Vec<u8>) -> Option<Bytes> {
    let nonce = aead::Nonce::try_assume_unique_for_key(iv).ok()?;
    aes_key(key)?.seal_in_place_append_tag(nonce, aead::Aad::from(more), &mut data).ok()?;
    Some(Bytes(data))
}

fn aes_open(key: &[u8], iv: &[u8], more: &[u8], mut data: Vec<u8>) -> Option<Bytes> {
    let nonce = aead::Nonce::try_assume_unique_for_key(iv).ok()?;
    let length = aes_key(key)?.open_in_place(nonce, aead::Aad::from(more), &mut data).ok()?.len();
    data.truncate(length);
    Some(Bytes(data))
}

fn derive_pbkdf2(hash: String, password: Bytes, salt: Bytes, rounds: u32, length: usize) -> Option<Bytes> {
    let algorithm = match hash.as_str() {
        "SHA-1" => pbkdf2::PBKDF2_HMAC_SHA1,
        "SHA-256" => pbkdf2::PBKDF2_HMAC_SHA256,
        "SHA-384" => pbkdf2::PBKDF2_HMAC_SHA384,
        "SHA-512" => pbkdf2::PBKDF2_HMAC_SHA512,
        _ => return None,
    };
    if length > DERIVED_LIMIT_BYTES {
        return None;
    }
    let mut out = vec![0; length];
    pbkdf2::derive(algorithm, NonZeroU32::new(rounds)?, &salt.0, &password.0, &mut out);
    Some(Bytes(out))
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive_hkdf(hash: String, key: Bytes, salt: Bytes, info: Bytes, length: usize) -> Option<Bytes> {
    let algorithm = match hash.as_str() {
        "SHA-1" => hkdf::HKDF_SHA1_FOR_LEGACY_USE_ONLY,
        "SHA-256" => hkdf::HKDF_SHA256,
        "SHA-384" => hkdf::HKDF_SHA384,
        "SHA-512" => hkdf::HKDF_SHA512,
        _ => return None,
    };
    if length > DERIVED_LIMIT_BYTES {
        return None;
    }
    let secret = hkdf::Salt::new(algorithm, &salt.0).extract(&key.0);
    let mut out = vec![0; length];
    secret.expand(&[&info.0], Length(length)).ok()?.fill(&mut out).ok()?;
    Some(Bytes(out))
}
