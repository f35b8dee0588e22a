//! Reverse proxies that are believed when they say for whom they ask: the portal's, and those of a host's object port.

use std::{net::IpAddr, str::FromStr};

use serde::Deserialize;

/// The most networks that are trusted at one place.
pub const MAX_PROXIES: usize = 64;

/// An address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address and no network such as 10.0.0.7 or 10.0.0.0/8")]
pub struct NoNetwork(String);

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let bad = || NoNetwork(text.chars().take(80).collect());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = address.parse::<IpAddr>().map_err(|_| bad())?.to_canonical();
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), str::parse).map_err(|_| bad())?;
        if bits <= all { Ok(Self { address, bits }) } else { Err(bad()) }
    }
}

impl TryFrom<String> for Network {
    type Error = NoNetwork;

    fn try_from(text: String) -> Result<Self, NoNetwork> {
        text.parse()
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.bits,
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.bits,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Network>")]
pub struct TrustedProxies(Vec<Network>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} proxies are trusted, and at most {MAX_PROXIES} addresses and networks can be")]
pub struct TooManyProxies(usize);

impl TryFrom<Vec<Network>> for TrustedProxies {
    type Error = TooManyProxies;

    fn try_from(networks: Vec<Network>) -> Result<Self, TooManyProxies> {
        if networks.len() <= MAX_PROXIES { Ok(Self(networks)) } else { Err(TooManyProxies(networks.len())) }
    }
}

impl TrustedProxies {
    pub fn contains(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(peer))
    }

    /// Whose request it is that came from `peer` with these lines of X-Forwarded-For. They are walked from their end, where each
    /// proxy has added whom it heard from, over the proxies that are trusted to the first address that is not: what stands
    /// before it anybody may have written.
    pub fn client<'a>(&self, peer: IpAddr, lines: impl DoubleEndedIterator<Item = &'a [u8]>) -> IpAddr {
        let mut client = peer;
        for said in lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
            if !self.contains(client) {
                break;
            }
            match std::str::from_utf8(said).ok().and_then(|text| text.trim().parse().ok()) {
                Some(address) => client = address,
                None => break,
            }
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(networks: &[&str]) -> TrustedProxies {
        let networks: Vec<Network> = networks.iter().map(|text| text.parse().unwrap()).collect();
        networks.try_into().unwrap()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let check = |peer: &str, lines: &[&str], networks: &[&str], expected: &str| {
            let client = trusted(networks).client(peer.parse().unwrap(), lines.iter().map(|line| line.as_bytes()));
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?} {networks:?}");
        };
        check("203.0.113.9", &["10.0.0.1"], &[], "203.0.113.9");
        check("203.0.113.9", &["10.0.0.1"], &["10.9.9.9"], "203.0.113.9");
        check("10.9.9.9", &["198.51.100.7"], &["10.9.9.9"], "198.51.100.7");
        // The client wrote the first itself; the proxy added the second.
        check("10.9.9.9", &["1.2.3.4, 198.51.100.7"], &["10.9.9.9"], "198.51.100.7");
        check("10.9.9.9", &["1.2.3.4", "198.51.100.7, 10.8.8.8"], &["10.9.9.9", "10.8.8.8"], "198.51.100.7");
        check("10.9.9.9", &["1.2.3.4, 198.51.100.7, 10.8.8.8"], &["10.8.0.0/15"], "198.51.100.7");
        check("10.9.9.9", &["1.2.3.4, nonsense"], &["10.9.9.9"], "10.9.9.9");
        check("10.9.9.9", &["1.2.3.4", "ä, nonsense"], &["10.9.9.9"], "10.9.9.9");
        check("10.9.9.9", &[], &["10.9.9.9"], "10.9.9.9");
        check("::ffff:10.9.9.9", &["198.51.100.7"], &["10.9.9.9"], "198.51.100.7");
    }

    #[test]
    fn a_network_is_all_that_begins_as_it_does() {
        let check = |network: &str, address: &str, expected: bool| {
            assert_eq!(trusted(&[network]).contains(address.parse().unwrap()), expected, "{network} {address}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/33", "2001:db8:7fff::1", true);
        check("2001:db8::/33", "2001:db8:8000::1", false);
        check("::1", "::1", true);
        for bad in ["", "lab", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0/8", "10.0.0.0/8/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        let one = "10.0.0.1".parse::<Network>().unwrap();
        assert_eq!(TrustedProxies::try_from(vec![one; MAX_PROXIES + 1]), Err(TooManyProxies(MAX_PROXIES + 1)));
    }
}
