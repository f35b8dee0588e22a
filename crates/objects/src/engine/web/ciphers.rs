//! AES in the modes that ring does not have. A mode's rules are the caller's to know: none of them tells whether data was changed,
//! but the wrapping of keys.

use aes::cipher::{BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit, block_padding::Pkcs7};
use aes::{Aes128, Aes192, Aes256};
use aes_kw::{KwAes128, KwAes192, KwAes256};
use cbc::{Decryptor, Encryptor};
use rquickjs::{Ctx, Function, Result};

use super::crypto::Setter;
use super::value::Bytes;

const BLOCK_BYTES: usize = 16;
/// What wrapping adds.
const WRAP_BYTES: usize = 8;

pub(super) fn install<'js>(ctx: &Ctx<'js>, set: Setter<'_, 'js>) -> Result<()> {
    set(
        "cbcEncrypt",
        Function::new(ctx.clone(), |key: Bytes, iv: Bytes, data: Bytes| encrypt(&key.0, &iv.0, &data.0).map(Bytes)),
    )?;
    set(
        "cbcDecrypt",
        Function::new(ctx.clone(), |key: Bytes, iv: Bytes, data: Bytes| decrypt(&key.0, &iv.0, &data.0).map(Bytes)),
    )?;
    set(
        "ctr",
        Function::new(ctx.clone(), |key: Bytes, counter: Bytes, bits: u32, data: Bytes| {
            count(&key.0, &counter.0, bits, data.0).map(Bytes)
        }),
    )?;
    set("kwWrap", Function::new(ctx.clone(), |key: Bytes, data: Bytes| wrap(&key.0, &data.0).map(Bytes)))?;
    set("kwUnwrap", Function::new(ctx.clone(), |key: Bytes, data: Bytes| unwrap(&key.0, &data.0).map(Bytes)))
}

fn encrypt(key: &[u8], iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    Some(match key.len() {
        16 => Encryptor::<Aes128>::new_from_slices(key, iv).ok()?.encrypt_padded_vec::<Pkcs7>(data),
        24 => Encryptor::<Aes192>::new_from_slices(key, iv).ok()?.encrypt_padded_vec::<Pkcs7>(data),
        32 => Encryptor::<Aes256>::new_from_slices(key, iv).ok()?.encrypt_padded_vec::<Pkcs7>(data),
        _ => return None,
    })
}

fn decrypt(key: &[u8], iv: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    match key.len() {
        16 => Decryptor::<Aes128>::new_from_slices(key, iv).ok()?.decrypt_padded_vec::<Pkcs7>(data).ok(),
        24 => Decryptor::<Aes192>::new_from_slices(key, iv).ok()?.decrypt_padded_vec::<Pkcs7>(data).ok(),
        32 => Decryptor::<Aes256>::new_from_slices(key, iv).ok()?.decrypt_padded_vec::<Pkcs7>(data).ok(),
        _ => None,
    }
}

/// The lowest `bits` of `counter` count the blocks; there are no more blocks than they can tell apart.
fn count(key: &[u8], counter: &[u8], bits: u32, data: Vec<u8>) -> Option<Vec<u8>> {
    match key.len() {
        16 => count_with(&Aes128::new_from_slice(key).ok()?, counter, bits, data),
        24 => count_with(&Aes192::new_from_slice(key).ok()?, counter, bits, data),
        32 => count_with(&Aes256::new_from_slice(key).ok()?, counter, bits, data),
        _ => None,
    }
}

fn count_with<C>(cipher: &C, counter: &[u8], bits: u32, mut data: Vec<u8>) -> Option<Vec<u8>>
where
    C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    let first = u128::from_be_bytes(counter.try_into().ok()?);
    let mask = match bits {
        1..=127 => (1 << bits) - 1,
        128 => u128::MAX,
        0 | 129.. => return None,
    };
    let blocks = data.len().div_ceil(BLOCK_BYTES) as u128;
    if blocks.saturating_sub(1) > mask {
        return None;
    }
    let mut number = first;
    for part in data.chunks_mut(BLOCK_BYTES) {
        let mut block = number.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        for (byte, key) in part.iter_mut().zip(block) {
            *byte ^= key;
        }
        number = (first & !mask) | (number.wrapping_add(1) & mask);
    }
    Some(data)
}

fn wrap(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; data.len() + WRAP_BYTES];
    match key.len() {
        16 => KwAes128::new_from_slice(key).ok()?.wrap_key(data, &mut out).ok()?.len(),
        24 => KwAes192::new_from_slice(key).ok()?.wrap_key(data, &mut out).ok()?.len(),
        32 => KwAes256::new_from_slice(key).ok()?.wrap_key(data, &mut out).ok()?.len(),
        _ => return None,
    };
    Some(out)
}

fn unwrap(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; data.len().checked_sub(WRAP_BYTES)?];
    match key.len() {
        16 => KwAes128::new_from_slice(key).ok()?.unwrap_key(data, &mut out).ok()?.len(),
        24 => KwAes192::new_from_slice(key).ok()?.unwrap_key(data, &mut out).ok()?.len(),
        32 => KwAes256::new_from_slice(key).ok()?.unwrap_key(data, &mut out).ok()?.len(),
        _ => return None,
    };
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).expect("hexadecimal digits")
    }

    #[test]
    fn counters_are_those_of_the_standard() {
        // NIST SP 800-38A, F.5.1.
        let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
        let counter = bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
        let plain = bytes("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let expected = bytes("874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff");
        assert_eq!(count(&key, &counter, 128, plain.clone()), Some(expected.clone()));
        assert_eq!(count(&key, &counter, 64, plain.clone()), Some(expected));
        // Within eight bits it begins anew: another second block.
        let around = count(&key, &counter, 8, plain.clone()).expect("is counted");
        assert_ne!(around[16..], bytes("9806f66b7970fdff8617187bb9fffdff"));
        assert_eq!(count(&key, &counter, 1, vec![0; 33]), None);
        assert_eq!(count(&key, &counter, 1, vec![0; 32]).map(|out| out.len()), Some(32));
    }

    #[test]
    fn keys_are_wrapped_as_in_the_standard() {
        // RFC 3394, 4.1.
        let key = bytes("000102030405060708090a0b0c0d0e0f");
        let data = bytes("00112233445566778899aabbccddeeff");
        let wrapped = bytes("1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5");
        assert_eq!(wrap(&key, &data), Some(wrapped.clone()));
        assert_eq!(unwrap(&key, &wrapped), Some(data));
        let mut changed = wrapped;
        changed[0] ^= 1;
        assert_eq!(unwrap(&key, &changed), None);
        assert_eq!(unwrap(&key, &[0; 7]), None);
    }

    #[test]
    fn blocks_are_padded_and_padding_is_looked_at() {
        for key in [16, 24, 32] {
            let (key, iv) = (vec![7; key], [9; 16]);
            let sealed = encrypt(&key, &iv, b"seventeen bytes..").expect("is encrypted");
            assert_eq!((sealed.len(), decrypt(&key, &iv, &sealed)), (32, Some(b"seventeen bytes..".to_vec())));
            assert_eq!(decrypt(&key, &iv, &sealed[..16]), None);
            assert_eq!(decrypt(&key, &iv, &sealed[..31]), None);
        }
    }
}
