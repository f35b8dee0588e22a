//! What `crypto.subtle` computes, on ring and where that has it not on RustCrypto. A key is bytes here: secrets raw, public keys of curves as points, private ones as PKCS #8,
//! RSA keys as the structures of PKCS #1.

use std::num::NonZeroU32;

use md5::Digest as _;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair, UnparsedPublicKey};
use ring::{aead, digest, hkdf, hmac, pbkdf2};
use rquickjs::prelude::MutFn;
use rquickjs::{Ctx, Exception, Function, Object, Result};

use super::value::Bytes;
use super::{ciphers, der};

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
    install_curves(ctx, &set)?;
    install_rsa(ctx, &set)
}

pub(super) type Setter<'a, 'js> = &'a dyn Fn(&str, Result<Function<'js>>) -> Result<()>;

fn install_curves<'js>(ctx: &Ctx<'js>, set: Setter<'_, 'js>) -> Result<()> {
    set(
        "curveGenerate",
        Function::new(ctx.clone(), |curve: String| Curve::named(&curve).and_then(Curve::generate).map(Bytes)),
    )?;
    set(
        "curveSign",
        Function::new(ctx.clone(), |curve: String, key: Bytes, data: Bytes| {
            Curve::named(&curve).and_then(|curve| curve.sign(&key.0, &data.0)).map(Bytes)
        }),
    )?;
    set(
        "curveVerify",
        Function::new(ctx.clone(), |curve: String, point: Bytes, tag: Bytes, data: Bytes| {
            Curve::named(&curve).is_some_and(|curve| {
                let how = curve.verification();
                how.is_some_and(|how| UnparsedPublicKey::new(how, &point.0).verify(&data.0, &tag.0).is_ok())
            })
        }),
    )?;
    // What a private key and somebody else's public one have in common
    set(
        "curveAgree",
        Function::new(ctx.clone(), |curve: String, key: Bytes, point: Bytes| {
            Curve::named(&curve).and_then(|curve| curve.agree(&key.0, &point.0)).map(Bytes)
        }),
    )?;
    // [secret, public point] of a private key in PKCS #8
    set(
        "curveParts",
        Function::new(ctx.clone(), |curve: String, key: Bytes| {
            Curve::named(&curve)
                .and_then(|curve| curve.parts(&key.0))
                .map(|(secret, point)| vec![Bytes(secret), Bytes(point)])
        }),
    )?;
    set(
        "curveKey",
        Function::new(ctx.clone(), |curve: String, secret: Bytes, point: Bytes| {
            Curve::named(&curve).and_then(|curve| curve.key(&secret.0, &point.0)).map(Bytes)
        }),
    )?;
    set(
        "curveSpki",
        Function::new(ctx.clone(), |curve: String, point: Bytes| {
            Curve::named(&curve).map(|curve| Bytes(der::spki(curve.algorithm(), &point.0)))
        }),
    )?;
    set(
        "curveFromSpki",
        Function::new(ctx.clone(), |curve: String, spki: Bytes| {
            Curve::named(&curve).and_then(|curve| der::from_spki(curve.algorithm(), &spki.0)).map(Bytes)
        }),
    )
}

fn install_rsa<'js>(ctx: &Ctx<'js>, set: Setter<'_, 'js>) -> Result<()> {
    set(
        "rsaSign",
        Function::new(ctx.clone(), |scheme: String, hash: String, key: Bytes, data: Bytes| {
            rsa_sign(&scheme, &hash, &key.0, &data.0).map(Bytes)
        }),
    )?;
    set(
        "rsaVerify",
        Function::new(ctx.clone(), |scheme: String, hash: String, key: Bytes, tag: Bytes, data: Bytes| {
            rsa_verification(&scheme, &hash)
                .map(|how| UnparsedPublicKey::new(how, &key.0).verify(&data.0, &tag.0).is_ok())
        }),
    )?;
    set("rsaUsable", Function::new(ctx.clone(), |key: Bytes| RsaKeyPair::from_der(&key.0).is_ok()))?;
    // PKCS #1 to and from the formats that keys are given in
    set("rsaPkcs8", Function::new(ctx.clone(), |key: Bytes| Bytes(der::pkcs8(&der::RSA, &key.0))))?;
    set("rsaFromPkcs8", Function::new(ctx.clone(), |bytes: Bytes| der::from_pkcs8(&der::RSA, &bytes.0).map(Bytes)))?;
    set("rsaSpki", Function::new(ctx.clone(), |key: Bytes| Bytes(der::spki(&der::RSA, &key.0))))?;
    set("rsaFromSpki", Function::new(ctx.clone(), |bytes: Bytes| der::from_spki(&der::RSA, &bytes.0).map(Bytes)))?;
    set(
        "derIntegers",
        Function::new(ctx.clone(), |bytes: Bytes| {
            der::integers(&bytes.0).map(|all| all.into_iter().map(Bytes).collect::<Vec<_>>())
        }),
    )?;
    set(
        "derOfIntegers",
        Function::new(ctx.clone(), |all: Vec<Bytes>| {
            Bytes(der::of_integers(&all.into_iter().map(|one| one.0).collect::<Vec<_>>()))
        }),
    )
}

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

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
    Ed25519,
    X25519,
}

impl Curve {
    fn named(name: &str) -> Option<Self> {
        match name {
            "P-256" => Some(Self::P256),
            "P-384" => Some(Self::P384),
            "Ed25519" => Some(Self::Ed25519),
            "X25519" => Some(Self::X25519),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static der::Algorithm {
        match self {
            Self::P256 => &der::P256,
            Self::P384 => &der::P384,
            Self::Ed25519 => &der::ED25519,
            Self::X25519 => &der::X25519,
        }
    }

    /// None: nothing is signed with it.
    fn verification(self) -> Option<&'static dyn signature::VerificationAlgorithm> {
        match self {
            Self::P256 => Some(&signature::ECDSA_P256_SHA256_FIXED),
            Self::P384 => Some(&signature::ECDSA_P384_SHA384_FIXED),
            Self::Ed25519 => Some(&signature::ED25519),
            Self::X25519 => None,
        }
    }

    fn generate(self) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let ecdsa = |algorithm| EcdsaKeyPair::generate_pkcs8(algorithm, &random).ok();
        let document = match self {
            Self::P256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Self::P384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Self::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random).ok(),
            Self::X25519 => {
                let mut secret = [0; 32];
                random.fill(&mut secret).ok()?;
                return Some(der::pkcs8(self.algorithm(), &der::of_octets(&secret)));
            }
        };
        document.map(|document| document.as_ref().to_vec())
    }

    fn sign(self, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let ecdsa = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, key, &random).ok()?.sign(&random, data).ok();
        let tag = match self {
            Self::P256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?,
            Self::P384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)?,
            Self::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).ok()?.sign(data),
            Self::X25519 => return None,
        };
        Some(tag.as_ref().to_vec())
    }

    fn parts(self, key: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let inner = der::from_pkcs8(self.algorithm(), key)?;
        let ecdsa = |algorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, key, &SystemRandom::new()).ok()?;
            Some((der::ec_secret(&inner)?, pair.public_key().as_ref().to_vec()))
        };
        match self {
            Self::P256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Self::P384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Self::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).ok()?;
                Some((der::octets(&inner)?, pair.public_key().as_ref().to_vec()))
            }
            Self::X25519 => {
                let secret = der::octets(&inner)?;
                let point = x25519_point(&secret)?;
                Some((secret, point))
            }
        }
    }

    /// PKCS #8 of a key pair, if secret and point belong together.
    fn key(self, secret: &[u8], point: &[u8]) -> Option<Vec<u8>> {
        let ecdsa = |algorithm| {
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, secret, point, &SystemRandom::new()).ok()?;
            Some(der::ec_private(secret, point))
        };
        let inner = match self {
            Self::P256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?,
            Self::P384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)?,
            Self::Ed25519 => {
                Ed25519KeyPair::from_seed_and_public_key(secret, point).ok()?;
                der::of_octets(secret)
            }
            Self::X25519 => {
                x25519_point(secret).filter(|expected| expected == point)?;
                der::of_octets(secret)
            }
        };
        Some(der::pkcs8(self.algorithm(), &inner))
    }

    /// The secret that the owner of a private key shares with that of a public one.
    fn agree(self, key: &[u8], point: &[u8]) -> Option<Vec<u8>> {
        let (secret, _) = self.parts(key)?;
        match self {
            Self::P256 => {
                let point = p256::PublicKey::from_sec1_bytes(point).ok()?;
                Some(p256::SecretKey::from_slice(&secret).ok()?.diffie_hellman(&point).raw_secret_bytes().to_vec())
            }
            Self::P384 => {
                let point = p384::PublicKey::from_sec1_bytes(point).ok()?;
                Some(p384::SecretKey::from_slice(&secret).ok()?.diffie_hellman(&point).raw_secret_bytes().to_vec())
            }
            Self::X25519 => {
                let shared = x25519_dalek::x25519(secret.try_into().ok()?, point.try_into().ok()?);
                // Of a point that gives the same to everybody.
                shared.iter().any(|byte| *byte != 0).then(|| shared.to_vec())
            }
            Self::Ed25519 => None,
        }
    }
}

fn x25519_point(secret: &[u8]) -> Option<Vec<u8>> {
    Some(x25519_dalek::x25519(secret.try_into().ok()?, x25519_dalek::X25519_BASEPOINT_BYTES).to_vec())
}

fn rsa_sign(scheme: &str, hash: &str, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let padding: &'static dyn RsaEncoding = match (scheme, hash) {
        ("RSASSA-PKCS1-v1_5", "SHA-256") => &signature::RSA_PKCS1_SHA256,
        ("RSASSA-PKCS1-v1_5", "SHA-384") => &signature::RSA_PKCS1_SHA384,
        ("RSASSA-PKCS1-v1_5", "SHA-512") => &signature::RSA_PKCS1_SHA512,
        ("RSA-PSS", "SHA-256") => &signature::RSA_PSS_SHA256,
        ("RSA-PSS", "SHA-384") => &signature::RSA_PSS_SHA384,
        ("RSA-PSS", "SHA-512") => &signature::RSA_PSS_SHA512,
        _ => return None,
    };
    let pair = RsaKeyPair::from_der(key).ok()?;
    let mut tag = vec![0; pair.public().modulus_len()];
    pair.sign(padding, &SystemRandom::new(), data, &mut tag).ok()?;
    Some(tag)
}

fn rsa_verification(scheme: &str, hash: &str) -> Option<&'static signature::RsaParameters> {
    match (scheme, hash) {
        ("RSASSA-PKCS1-v1_5", "SHA-1") => Some(&signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
        ("RSASSA-PKCS1-v1_5", "SHA-256") => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        ("RSASSA-PKCS1-v1_5", "SHA-384") => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        ("RSASSA-PKCS1-v1_5", "SHA-512") => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        ("RSA-PSS", "SHA-256") => Some(&signature::RSA_PSS_2048_8192_SHA256),
        ("RSA-PSS", "SHA-384") => Some(&signature::RSA_PSS_2048_8192_SHA384),
        ("RSA-PSS", "SHA-512") => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}
