//! RSA, on AWS-LC. Keys are the structures of PKCS #1.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
    OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{self, RsaEncoding, RsaKeyPair, RsaParameters, UnparsedPublicKey};
use rquickjs::{Ctx, Function, Result};

use super::crypto::Setter;
use super::value::Bytes;
use super::{der, rsa_search};

pub(super) fn install<'js>(ctx: &Ctx<'js>, set: Setter<'_, 'js>) -> Result<()> {
    // A private key, or null. `spent` says whether the event has used up its time, in a realm that has such a limit.
    set(
        "rsaGenerate",
        Function::new(ctx.clone(), |bits: u16, exponent: u32, spent: Option<Function<'js>>| {
            let go_on = || spent.as_ref().is_none_or(|spent| matches!(spent.call::<_, bool>(()), Ok(false)));
            rsa_search::private_key(bits, exponent, go_on).map(Bytes)
        }),
    )?;
    set(
        "rsaSign",
        Function::new(ctx.clone(), |scheme: String, hash: String, key: Bytes, data: Bytes| {
            sign(&scheme, &hash, &key.0, &data.0).map(Bytes)
        }),
    )?;
    set(
        "rsaVerify",
        Function::new(ctx.clone(), |scheme: String, hash: String, key: Bytes, tag: Bytes, data: Bytes| {
            verification(&scheme, &hash).map(|how| UnparsedPublicKey::new(how, &key.0).verify(&data.0, &tag.0).is_ok())
        }),
    )?;
    set(
        "oaepEncrypt",
        Function::new(ctx.clone(), |hash: String, key: Bytes, label: Bytes, data: Bytes| {
            encrypt(&hash, &key.0, &label.0, &data.0).map(Bytes)
        }),
    )?;
    set(
        "oaepDecrypt",
        Function::new(ctx.clone(), |hash: String, key: Bytes, label: Bytes, data: Bytes| {
            decrypt(&hash, &key.0, &label.0, &data.0).map(Bytes)
        }),
    )?;
    set("rsaIsPrivate", Function::new(ctx.clone(), |key: Bytes| RsaKeyPair::from_der(&key.0).is_ok()))?;
    set("rsaIsPublic", Function::new(ctx.clone(), |key: Bytes| encrypting(&key.0).is_some()))?;
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

fn sign(scheme: &str, hash: &str, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
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
    let mut tag = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), data, &mut tag).ok()?;
    Some(tag)
}

fn verification(scheme: &str, hash: &str) -> Option<&'static RsaParameters> {
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

fn oaep(hash: &str) -> Option<&'static OaepAlgorithm> {
    match hash {
        "SHA-1" => Some(&OAEP_SHA1_MGF1SHA1),
        "SHA-256" => Some(&OAEP_SHA256_MGF1SHA256),
        "SHA-384" => Some(&OAEP_SHA384_MGF1SHA384),
        "SHA-512" => Some(&OAEP_SHA512_MGF1SHA512),
        _ => None,
    }
}

fn encrypting(key: &[u8]) -> Option<PublicEncryptingKey> {
    PublicEncryptingKey::from_der(&der::spki(&der::RSA, key)).ok()
}

fn encrypt(hash: &str, key: &[u8], label: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let key = OaepPublicEncryptingKey::new(encrypting(key)?).ok()?;
    let mut out = vec![0; key.ciphertext_size()];
    let length = key.encrypt(oaep(hash)?, data, &mut out, Some(label)).ok()?.len();
    out.truncate(length);
    Some(out)
}

fn decrypt(hash: &str, key: &[u8], label: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let key = PrivateDecryptingKey::from_pkcs8(&der::pkcs8(&der::RSA, key)).ok()?;
    let key = OaepPrivateDecryptingKey::new(key).ok()?;
    let mut out = vec![0; key.min_output_size()];
    let length = key.decrypt(oaep(hash)?, data, &mut out, Some(label)).ok()?.len();
    out.truncate(length);
    Some(out)
}
