//! Which host has which objects. Objects go by groups, so that the directory of millions is a few rows that every agent
//! holds; a group's host changes only by compare-and-set, with a higher epoch.

use serde::{Deserialize, Serialize};

use crate::ids::{DeploymentId, HostId};

/// Groups of each deployment.
pub const GROUPS: u16 = 64;

/// Objects that are always on one host together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(u16);

impl Group {
    /// Ids are random or hashes, so their first bytes spread them.
    pub fn of(object: &[u8; 32]) -> Self {
        Self(u16::from_be_bytes([object[0], object[1]]) % GROUPS)
    }
    pub fn all() -> impl Iterator<Item = Self> {
        (0..GROUPS).map(Self)
    }
    pub fn number(self) -> u16 {
        self.0
    }
    /// `None` for a number that is none.
    pub fn from_number(number: u16) -> Option<Self> {
        (number < GROUPS).then_some(Self(number))
    }
}

/// A group's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub group: Group,
    pub host: HostId,
    /// Fences what an earlier holder still has to say.
    pub epoch: u64,
}

/// The longest [`ObjectOffer::address`].
pub const MAX_ADDRESS_BYTES: usize = 300;

/// What a host says of itself that runs objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectOffer {
    /// `HOST:PORT` at which other hosts reach it.
    pub address: String,
}

impl ObjectOffer {
    /// Whether the address is one by its looks.
    pub fn is_plain(&self) -> bool {
        let address = self.address.as_str();
        let Some((host, port)) = address.rsplit_once(':') else { return false };
        address.len() <= MAX_ADDRESS_BYTES
            && !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    }
}

/// A host that runs objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub host: HostId,
    /// It takes new groups: it is in service and its link is up.
    pub is_ready: bool,
}

/// Gives each group that has no host one of those that are ready: of each group the one with the highest hash, so that a
/// host more or less changes few (rendezvous hashing; Thaler and Ravishankar, 1998). What a group holds is on its host alone,
/// so one that has a host keeps it.
pub fn spread(deployment: DeploymentId, held: &[Held], candidates: &[Candidate]) -> Vec<(Group, HostId)> {
    let weight = |group: Group, host: HostId| {
        let parts = [deployment.uuid().as_u128(), u128::from(group.0), host.uuid().as_u128()];
        parts.into_iter().flat_map(|part| [(part >> 64) as u64, part as u64]).fold(0x9e37_79b9_7f4a_7c15, mix)
    };
    Group::all()
        .filter(|group| !held.iter().any(|held| held.group == *group))
        .filter_map(|group| {
            let ready = candidates.iter().filter(|candidate| candidate.is_ready);
            let best = ready.max_by_key(|candidate| (weight(group, candidate.host), candidate.host))?;
            Some((group, best.host))
        })
        .collect()
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014) over what came before.
fn mix(state: u64, part: u64) -> u64 {
    let mut mixed = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(hosts: &[HostId]) -> Vec<Candidate> {
        hosts.iter().map(|host| Candidate { host: *host, is_ready: true }).collect()
    }

    #[test]
    fn groups_are_spread_evenly_and_stay_where_they_are() {
        let deployment = DeploymentId::new();
        let hosts: Vec<HostId> = (0..4).map(|_| HostId::new()).collect();
        let placed = spread(deployment, &[], &ready(&hosts));
        assert_eq!(placed.len(), usize::from(GROUPS));
        for host in &hosts {
            let count = placed.iter().filter(|(_, at)| at == host).count();
            assert!((4..=32).contains(&count), "{count} of {GROUPS}");
        }
        assert_eq!(placed, spread(deployment, &[], &ready(&hosts)));
        let held: Vec<Held> =
            placed.iter().map(|(group, host)| Held { group: *group, host: *host, epoch: 1 }).collect();
        assert_eq!(spread(deployment, &held, &ready(&[HostId::new()])), []);
        assert_eq!(spread(deployment, &held[1..], &ready(&hosts)), placed[..1]);
    }

    #[test]
    fn a_host_that_leaves_takes_only_its_groups_along() {
        let deployment = DeploymentId::new();
        let hosts: Vec<HostId> = (0..4).map(|_| HostId::new()).collect();
        let (all, fewer) = (spread(deployment, &[], &ready(&hosts)), spread(deployment, &[], &ready(&hosts[1..])));
        for (before, after) in all.iter().zip(&fewer) {
            assert!(before == after || before.1 == hosts[0]);
        }
    }

    #[test]
    fn without_a_host_that_is_ready_nothing_is_placed() {
        let away = Candidate { host: HostId::new(), is_ready: false };
        assert_eq!(spread(DeploymentId::new(), &[], &[away]), []);
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        let check = |address: &str, expected: bool| {
            assert_eq!(ObjectOffer { address: address.to_owned() }.is_plain(), expected, "{address}");
        };
        check("10.0.0.7:7443", true);
        check("[fd00::7]:7443", true);
        check("rack-1.example:7443", true);
        check("rack-1.example", false);
        check(":7443", false);
        check("rack 1:7443", false);
        check("rack-1:0", false);
        check("rack-1:70000", false);
        check(&format!("{}:1", "x".repeat(MAX_ADDRESS_BYTES)), false);
    }

    #[test]
    fn objects_fall_into_all_groups() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..=u16::MAX {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            seen.insert(Group::of(&id));
        }
        assert_eq!(seen, Group::all().collect());
        assert_eq!((Group::from_number(63).map(Group::number), Group::from_number(64)), (Some(63), None));
    }
}
