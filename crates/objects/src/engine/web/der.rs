//! As much of DER as the formats of keys need.

/// The AlgorithmIdentifier of a kind of key, whole.
pub(super) struct Algorithm(&'static [u8]);

pub(super) const RSA: Algorithm = Algorithm(&[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0]);
pub(super) const P256: Algorithm =
    Algorithm(&[0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
pub(super) const P384: Algorithm =
    Algorithm(&[0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22]);
pub(super) const P521: Algorithm =
    Algorithm(&[0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x23]);
pub(super) const X25519: Algorithm = Algorithm(&[0x30, 5, 6, 3, 0x2b, 0x65, 0x6e]);
pub(super) const ED25519: Algorithm = Algorithm(&[0x30, 5, 6, 3, 0x2b, 0x65, 0x70]);

const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
        out.push(0x80 | (bytes.len() - start) as u8);
        out.extend_from_slice(&bytes[start..]);
    }
    out.extend_from_slice(content);
    out
}

/// Takes one value with the given tag: its content and what follows it.
fn take(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}

pub(super) fn of_octets(bytes: &[u8]) -> Vec<u8> {
    wrap(OCTETS, bytes)
}

pub(super) fn octets(bytes: &[u8]) -> Option<Vec<u8>> {
    take(bytes, OCTETS).map(|(content, _)| content.to_vec())
}

pub(super) fn spki(algorithm: &Algorithm, key: &[u8]) -> Vec<u8> {
    wrap(SEQUENCE, &[algorithm.0, &wrap(BITS, &[&[0], key].concat())].concat())
}

pub(super) fn from_spki(algorithm: &Algorithm, bytes: &[u8]) -> Option<Vec<u8>> {
    let (content, _) = take(bytes, SEQUENCE)?;
    let (bits, _) = take(content.strip_prefix(algorithm.0)?, BITS)?;
    bits.strip_prefix(&[0]).map(<[u8]>::to_vec)
}

pub(super) fn pkcs8(algorithm: &Algorithm, key: &[u8]) -> Vec<u8> {
    wrap(SEQUENCE, &[&wrap(INTEGER, &[0])[..], algorithm.0, &of_octets(key)].concat())
}

pub(super) fn from_pkcs8(algorithm: &Algorithm, bytes: &[u8]) -> Option<Vec<u8>> {
    let (content, _) = take(bytes, SEQUENCE)?;
    let (_version, rest) = take(content, INTEGER)?;
    octets(rest.strip_prefix(algorithm.0)?)
}

/// ECPrivateKey (RFC 5915) with the public key.
pub(super) fn ec_private(secret: &[u8], point: &[u8]) -> Vec<u8> {
    let public = wrap(0xa1, &wrap(BITS, &[&[0], point].concat()));
    wrap(SEQUENCE, &[&wrap(INTEGER, &[1])[..], &of_octets(secret), &public].concat())
}

/// The integers of a sequence of them, big-endian without leading zeros, as JWK has them.
pub(super) fn integers(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut rest, _) = take(bytes, SEQUENCE)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (integer, after) = take(rest, INTEGER)?;
        let start = integer.iter().position(|byte| *byte != 0).unwrap_or(integer.len().saturating_sub(1));
        all.push(integer[start..].to_vec());
        rest = after;
    }
    Some(all)
}

pub(super) fn of_integers(all: &[Vec<u8>]) -> Vec<u8> {
    let mut content = Vec::new();
    for integer in all {
        // A first bit that is set would make it negative.
        let sign: &[u8] = if integer.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
        content.extend(wrap(INTEGER, &[sign, integer].concat()));
    }
    wrap(SEQUENCE, &content)
}

#[cfg(test)]
mod tests {
    use super::{RSA, from_pkcs8, from_spki, integers, of_integers, pkcs8, spki};

    #[test]
    fn what_is_written_is_read() {
        let long = vec![vec![0x80; 300], vec![1, 0, 1], vec![0]];
        let der = of_integers(&long);
        assert_eq!(integers(&der), Some(long));
        assert_eq!(from_pkcs8(&RSA, &pkcs8(&RSA, &der)), Some(der.clone()));
        assert_eq!(from_spki(&RSA, &spki(&RSA, &der)), Some(der.clone()));
        assert_eq!(integers(&der[..der.len() - 1]), None);
        assert_eq!(from_spki(&super::P256, &spki(&RSA, &der)), None);
    }
}
