//! Keys of curves: made, read and written, signed with, agreed by. Those of NIST are AWS-LC's, the others ring's and RustCrypto's.

use aws_lc_rs::agreement;
use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{
    self as nist, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair as _,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{self, Ed25519KeyPair, KeyPair as _};
use rquickjs::{Ctx, Function, Result};

use super::crypto::Setter;
use super::der;
use super::value::Bytes;

pub(super) fn install<'js>(ctx: &Ctx<'js>, set: Setter<'_, 'js>) -> Result<()> {
    set(
        "curveGenerate",
        Function::new(ctx.clone(), |curve: String| Curve::named(&curve).and_then(Curve::generate).map(Bytes)),
    )?;
    set(
        "curveSign",
        Function::new(ctx.clone(), |curve: String, hash: Option<String>, key: Bytes, data: Bytes| {
            Curve::named(&curve).and_then(|curve| curve.sign(hash.as_deref(), &key.0, &data.0)).map(Bytes)
        }),
    )?;
    set(
        "curveVerify",
        Function::new(ctx.clone(), |curve: String, hash: Option<String>, point: Bytes, tag: Bytes, data: Bytes| {
            Curve::named(&curve).is_some_and(|curve| curve.verifies(hash.as_deref(), &point.0, &tag.0, &data.0))
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

#[derive(Clone, Copy)]
enum Curve {
    Nist(Nist),
    Ed25519,
    X25519,
}

#[derive(Clone, Copy)]
enum Nist {
    P256,
    P384,
    P521,
}

impl Nist {
    /// For what does not depend on a digest.
    fn keys(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &nist::ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &nist::ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P521 => &nist::ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }

    fn signing(self, hash: &str) -> Option<&'static EcdsaSigningAlgorithm> {
        match (self, hash) {
            (Self::P256, "SHA-256") => Some(&nist::ECDSA_P256_SHA256_FIXED_SIGNING),
            (Self::P384, "SHA-384") => Some(&nist::ECDSA_P384_SHA384_FIXED_SIGNING),
            (Self::P521, "SHA-256") => Some(&nist::ECDSA_P521_SHA256_FIXED_SIGNING),
            (Self::P521, "SHA-384") => Some(&nist::ECDSA_P521_SHA384_FIXED_SIGNING),
            (Self::P521, "SHA-512") => Some(&nist::ECDSA_P521_SHA512_FIXED_SIGNING),
            (Self::P256 | Self::P384 | Self::P521, _) => None,
        }
    }

    fn verification(self, hash: &str) -> Option<&'static EcdsaVerificationAlgorithm> {
        match (self, hash) {
            (Self::P256, "SHA-256") => Some(&nist::ECDSA_P256_SHA256_FIXED),
            (Self::P384, "SHA-384") => Some(&nist::ECDSA_P384_SHA384_FIXED),
            (Self::P521, "SHA-256") => Some(&nist::ECDSA_P521_SHA256_FIXED),
            (Self::P521, "SHA-384") => Some(&nist::ECDSA_P521_SHA384_FIXED),
            (Self::P521, "SHA-512") => Some(&nist::ECDSA_P521_SHA512_FIXED),
            (Self::P256 | Self::P384 | Self::P521, _) => None,
        }
    }

    fn agreement(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &agreement::ECDH_P256,
            Self::P384 => &agreement::ECDH_P384,
            Self::P521 => &agreement::ECDH_P521,
        }
    }
}

impl Curve {
    fn named(name: &str) -> Option<Self> {
        match name {
            "P-256" => Some(Self::Nist(Nist::P256)),
            "P-384" => Some(Self::Nist(Nist::P384)),
            "P-521" => Some(Self::Nist(Nist::P521)),
            "Ed25519" => Some(Self::Ed25519),
            "X25519" => Some(Self::X25519),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static der::Algorithm {
        match self {
            Self::Nist(Nist::P256) => &der::P256,
            Self::Nist(Nist::P384) => &der::P384,
            Self::Nist(Nist::P521) => &der::P521,
            Self::Ed25519 => &der::ED25519,
            Self::X25519 => &der::X25519,
        }
    }

    fn generate(self) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Nist(curve) => {
                let pair = EcdsaKeyPair::generate(curve.keys()).ok()?;
                Some(pair.to_pkcs8v1().ok()?.as_ref().to_vec())
            }
            Self::Ed25519 => Some(Ed25519KeyPair::generate_pkcs8(&random).ok()?.as_ref().to_vec()),
            Self::X25519 => {
                let mut secret = [0; 32];
                random.fill(&mut secret).ok()?;
                Some(der::pkcs8(self.algorithm(), &der::of_octets(&secret)))
            }
        }
    }

    /// `hash`: of a curve that can be signed with several.
    fn sign(self, hash: Option<&str>, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Nist(curve) => {
                let pair = EcdsaKeyPair::from_pkcs8(curve.signing(hash?)?, key).ok()?;
                Some(pair.sign(&aws_lc_rs::rand::SystemRandom::new(), data).ok()?.as_ref().to_vec())
            }
            Self::Ed25519 => Some(Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).ok()?.sign(data).as_ref().to_vec()),
            Self::X25519 => None,
        }
    }

    fn verifies(self, hash: Option<&str>, point: &[u8], tag: &[u8], data: &[u8]) -> bool {
        match self {
            Self::Nist(curve) => hash
                .and_then(|hash| curve.verification(hash))
                .is_some_and(|how| nist::UnparsedPublicKey::new(how, point).verify(data, tag).is_ok()),
            Self::Ed25519 => signature::UnparsedPublicKey::new(&signature::ED25519, point).verify(data, tag).is_ok(),
            Self::X25519 => false,
        }
    }

    fn parts(self, key: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let inner = der::from_pkcs8(self.algorithm(), key)?;
        match self {
            Self::Nist(curve) => {
                let pair = EcdsaKeyPair::from_pkcs8(curve.keys(), key).ok()?;
                let secret = pair.private_key().as_be_bytes().ok()?;
                Some((secret.as_ref().to_vec(), pair.public_key().as_ref().to_vec()))
            }
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
        let inner = match self {
            Self::Nist(curve) => {
                EcdsaKeyPair::from_private_key_and_public_key(curve.keys(), secret, point).ok()?;
                der::ec_private(secret, point)
            }
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
        match self {
            Self::Nist(curve) => {
                let own = agreement::PrivateKey::from_private_key_der(curve.agreement(), key).ok()?;
                let other = agreement::UnparsedPublicKey::new(curve.agreement(), point);
                agreement::agree(&own, other, (), |shared| Ok(shared.to_vec())).ok()
            }
            Self::X25519 => {
                let (secret, _) = self.parts(key)?;
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
