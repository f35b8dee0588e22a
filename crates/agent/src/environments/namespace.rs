//! Which namespace a process is in, by more than its inode number, which the kernel gives out again.

use std::{collections::BTreeSet, fs, io};

use rustix::ioctl;
use serde::{Deserialize, Serialize};

/// The kernel's `NS_GET_ID`, of Linux 6.18: a number that no other namespace has until the host starts anew.
const GET_ID: ioctl::Opcode = ioctl::opcode::read::<u64>(0xb7, 13);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Mnt,
    Pid,
    Net,
    User,
    Ipc,
}

/// Those by which an environment's processes are known.
pub const KINDS: [Kind; 5] = [Kind::Mnt, Kind::Pid, Kind::Net, Kind::User, Kind::Ipc];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Mnt => "mnt",
            Kind::Pid => "pid",
            Kind::Net => "net",
            Kind::User => "user",
            Kind::Ipc => "ipc",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Kept")]
pub struct Namespace {
    /// None: an earlier agent did not write it down.
    kind: Option<Kind>,
    inode: u64,
    /// None: this kernel gives none.
    id: Option<u64>,
}

/// As it is kept on disk; the number alone is an earlier agent's.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    Inode(u64),
    Whole { kind: Option<Kind>, inode: u64, id: Option<u64> },
}

impl From<Kept> for Namespace {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Inode(inode) => Self { kind: None, inode, id: None },
            Kept::Whole { kind, inode, id } => Self { kind, inode, id },
        }
    }
}

/// How sure it is that two are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Likeness {
    Different,
    /// The inode's number is the same, which may have been given out again.
    Number,
    Same,
}

impl Namespace {
    /// That of a process.
    pub fn of(pid: i32, kind: Kind) -> io::Result<Self> {
        let path = format!("/proc/{pid}/ns/{}", kind.name());
        let link = fs::read_link(&path)?;
        let inode = link.to_str().and_then(|text| text.split_once('[')?.1.strip_suffix(']')?.parse().ok());
        Ok(Self { kind: Some(kind), inode: inode.ok_or(io::ErrorKind::InvalidData)?, id: id(&path) })
    }

    fn likeness(&self, other: &Self) -> Likeness {
        let other_kind = self.kind.zip(other.kind).is_some_and(|(one, two)| one != two);
        match self.id.zip(other.id) {
            Some(_) | None if other_kind || self.inode != other.inode => Likeness::Different,
            Some((one, two)) if one == two => Likeness::Same,
            Some(_) => Likeness::Different,
            None => Likeness::Number,
        }
    }

    /// How sure it is that this is one of them.
    pub fn among(&self, known: &BTreeSet<Self>) -> Likeness {
        known.iter().map(|one| self.likeness(one)).max().unwrap_or(Likeness::Different)
    }
}

/// None: the kernel is older, or the process has ended.
fn id(path: &str) -> Option<u64> {
    let file = fs::File::open(path).ok()?;
    #[expect(unsafe_code, reason = "no safe wrapper exists; the call writes one number")]
    // SAFETY: the operation writes a `u64`, and an older kernel refuses it.
    let asked = unsafe { ioctl::ioctl(&file, ioctl::Getter::<GET_ID, u64>::new()) };
    asked.ok()
}

/// Of a process, those that the host's first process is not in.
pub fn own(pid: i32, kinds: &[Kind]) -> io::Result<BTreeSet<Namespace>> {
    let host: BTreeSet<Namespace> = kinds.iter().filter_map(|kind| Namespace::of(1, *kind).ok()).collect();
    let all = kinds.iter().map(|kind| Namespace::of(pid, *kind)).collect::<io::Result<Vec<_>>>()?;
    Ok(all.into_iter().filter(|namespace| namespace.among(&host) == Likeness::Different).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::baseline::{Identity, leftovers};

    fn check(one: Namespace, other: Namespace, expected: Likeness) {
        assert_eq!(one.likeness(&other), expected, "{one:?} {other:?}");
        assert_eq!(other.likeness(&one), expected, "{other:?} {one:?}");
    }

    #[test]
    fn a_number_that_was_given_again_is_another_namespace() {
        let of = |kind, inode, id| Namespace { kind, inode, id };
        let (net, ipc) = (Some(Kind::Net), Some(Kind::Ipc));
        check(of(net, 7, Some(1)), of(net, 7, Some(1)), Likeness::Same);
        check(of(net, 7, Some(1)), of(net, 7, Some(2)), Likeness::Different);
        check(of(net, 7, Some(1)), of(ipc, 7, Some(1)), Likeness::Different);
        check(of(net, 7, None), of(ipc, 7, None), Likeness::Different);
        check(of(net, 7, None), of(net, 8, None), Likeness::Different);
        check(of(net, 7, None), of(net, 7, Some(2)), Likeness::Number);
        check(of(None, 7, None), of(net, 7, Some(2)), Likeness::Number);
    }

    #[test]
    fn what_an_earlier_agent_wrote_is_read() {
        let read: BTreeSet<Namespace> =
            serde_json::from_str(r#"[4026532001, {"kind": "net", "inode": 5, "id": 9}]"#).expect("is read");
        let again: BTreeSet<Namespace> =
            serde_json::from_str(&serde_json::to_string(&read).expect("is written")).expect("is read");
        assert_eq!(read, again);
        assert_eq!(read.len(), 2);
    }

    /// A program in namespaces of its own.
    struct Alone(std::process::Child);

    impl Alone {
        fn start() -> Option<(Self, Namespace)> {
            let host = Namespace::of(1, Kind::Ipc).ok()?;
            let mut command = std::process::Command::new("unshare");
            let mut alone = Self(command.args(["--map-root-user", "--ipc", "sleep", "1000"]).spawn().ok()?);
            let pid = i32::try_from(alone.0.id()).expect("a pid");
            loop {
                if alone.0.try_wait().expect("is its own").is_some() {
                    return None;
                }
                match Namespace::of(pid, Kind::Ipc) {
                    Ok(own) if own.likeness(&host) == Likeness::Different => return Some((alone, own)),
                    Ok(_) | Err(_) => std::thread::yield_now(),
                }
            }
        }
    }

    impl Drop for Alone {
        fn drop(&mut self) {
            self.0.kill().and_then(|()| self.0.wait()).expect("is killed");
        }
    }

    /// The kernel gives the lowest number that is free.
    #[test]
    fn a_stranger_that_got_the_number_again_is_not_taken_for_a_leftover() {
        const TRIES: usize = 200;
        let Some((first, gone)) = Alone::start() else {
            return eprintln!("SKIPPED: nobody may make namespaces here");
        };
        let identity = Identity { namespaces: [gone].into(), ..Identity::default() };
        let pid = i32::try_from(first.0.id()).expect("a pid");
        assert!(leftovers(&identity).expect("are looked for").iter().any(|left| left.pid == pid), "it is one itself");
        drop(first);
        if gone.id.is_none() {
            return eprintln!("SKIPPED: this kernel gives namespaces no numbers but their inodes'");
        }
        let stranger = (0..TRIES).find_map(|_| Alone::start().filter(|(_, again)| again.inode == gone.inode));
        let Some((stranger, again)) = stranger else {
            return eprintln!("SKIPPED: other programs were given the number each time");
        };
        assert_ne!(gone.id, again.id);
        let pid = i32::try_from(stranger.0.id()).expect("a pid");
        let left = leftovers(&identity).expect("are looked for");
        assert!(left.iter().all(|left| left.pid != pid), "{left:?}");
        // By the number alone it is one.
        let number = Namespace { id: None, ..gone };
        let left = leftovers(&Identity { namespaces: [number].into(), ..Identity::default() });
        assert!(left.expect("are looked for").iter().any(|left| left.pid == pid));
    }

    #[test]
    fn this_process_is_where_it_is() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let namespace = Namespace::of(own, Kind::Net).expect("is read");
        let likeness = namespace.among(&[namespace].into());
        assert!(likeness >= Likeness::Number, "{likeness:?}");
    }
}
