//! `[objects]`: where this host's object workers are reached, and what they may have and reach, all together.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use domain::{
    deployments::MAX_CPU_MS,
    proxies::{Network, TrustedProxies},
};
use objects::wire::Limits;
use rustls_pki_types::ServerName;
use serde::Deserialize;
use toml::Spanned;

use super::{Bytes, Checker};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);
const DEFAULT_PEER_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8788);
/// One engine with one object of the usual limit fits, and not much more.
const MIN_MEMORY_BYTES: u64 = 256 << 20;
const MAX_PRIVATE: usize = 256;
const MAX_NAME_BYTES: usize = 253;
const IDLE_SECONDS: RangeInclusive<u32> = 1..=86_400;
const DRAIN_SECONDS: RangeInclusive<u32> = 0..=600;
/// Less does not hold the engine's own scripts.
const OBJECT_MEMORY_BYTES: RangeInclusive<u64> = 16 << 20..=4 << 30;
const CPU_MS: RangeInclusive<u32> = 1..=MAX_CPU_MS;
const QUEUE: RangeInclusive<u32> = 1..=1_000_000;
const REQUEST_BYTES: RangeInclusive<u64> = 1 << 10..=64 << 30;
/// More does not fit what an engine and its host send each other.
const VALUE_BYTES: RangeInclusive<u64> = 1 << 10..=8 << 20;
const DATABASE_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 40;

#[derive(Debug, Clone, PartialEq)]
pub struct ObjectsConfig {
    /// The object port: plain HTTP for whoever reaches it.
    pub listen: SocketAddr,
    /// For other agents of the tenant alone, over mutual TLS.
    pub peer_listen: SocketAddr,
    /// `HOST:PORT` at which other agents reach `peer_listen`.
    pub peer_address: String,
    /// Whose word for whom they ask is believed at the object port.
    pub trusted_proxies: TrustedProxies,
    /// Private names and addresses that object workers of this host may send requests to, in lower case.
    pub allow_private: BTreeSet<String>,
    /// Of all engines together.
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    /// An object that can be woken is taken out of memory after it.
    pub hibernate: Duration,
    /// And one that would lose something by it, after this.
    pub evict: Duration,
    /// What is under way may take so long when the agent is asked to stop.
    pub drain: Duration,
    /// Of each object and event; a version may limit itself to less.
    pub limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectsText {
    cpus: Spanned<f64>,
    memory: Spanned<Bytes>,
    listen: Option<Spanned<String>>,
    peer_listen: Option<Spanned<String>>,
    peer_address: Option<Spanned<String>>,
    #[serde(default)]
    trusted_proxies: Vec<Spanned<String>>,
    #[serde(default)]
    allow_private: Vec<Spanned<String>>,
    hibernate_s: Option<Spanned<u32>>,
    evict_s: Option<Spanned<u32>>,
    drain_s: Option<Spanned<u32>>,
    #[serde(default)]
    limits: LimitsText,
}

/// `[objects.limits]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsText {
    memory: Option<Spanned<Bytes>>,
    cpu_ms: Option<Spanned<u32>>,
    queue: Option<Spanned<u32>>,
    request: Option<Spanned<Bytes>>,
    value: Option<Spanned<Bytes>>,
    database: Option<Spanned<Bytes>>,
}

/// Of `HOST:PORT`, where the host is a name or an address, an IPv6 address in brackets.
fn reached_at(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok_and(|address| !address.is_unspecified()),
        None => {
            ServerName::try_from(host).is_ok()
                && host.parse::<std::net::IpAddr>().map_or(true, |address| address.is_ipv4())
                && host.parse::<Ipv4Addr>().map_or(true, |address| !address.is_unspecified())
        }
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl Checker<'_> {
    pub(super) fn objects(&mut self, text: &ObjectsText) -> ObjectsConfig {
        let cpu_millis = self.cpus(&text.cpus);
        let memory_bytes = self.size("memory", Some(&text.memory), MIN_MEMORY_BYTES, MIN_MEMORY_BYTES);
        let listen = self.listen("listen", text.listen.as_ref(), DEFAULT_LISTEN);
        let peer_listen = self.listen("peer_listen", text.peer_listen.as_ref(), DEFAULT_PEER_LISTEN);
        if listen == peer_listen
            && let Some(spanned) = text.peer_listen.as_ref().or(text.listen.as_ref())
        {
            let what = format!("listen and peer_listen are both {listen}");
            self.problem(spanned, what, "two ports: the second is for other agents alone");
        }
        let peer_address = self.peer_address(text, peer_listen);
        let trusted_proxies = self.trusted_proxies(&text.trusted_proxies);
        let allow_private = self.allow_private(&text.allow_private);
        let hibernate = self.seconds("hibernate_s", text.hibernate_s.as_ref(), 10, IDLE_SECONDS);
        let evict = self.seconds("evict_s", text.evict_s.as_ref(), 100, IDLE_SECONDS);
        let drain = self.seconds("drain_s", text.drain_s.as_ref(), 10, DRAIN_SECONDS);
        let limits = self.object_limits(&text.limits, memory_bytes);
        ObjectsConfig {
            limits,
            listen,
            peer_listen,
            peer_address,
            trusted_proxies,
            allow_private,
            cpu_millis,
            memory_bytes,
            hibernate,
            evict,
            drain,
        }
    }

    fn listen(&mut self, key: &str, text: Option<&Spanned<String>>, default: SocketAddr) -> SocketAddr {
        let Some(text) = text else { return default };
        match text.get_ref().parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 => address,
            Ok(_) | Err(_) => {
                let said: String = text.get_ref().chars().take(80).collect();
                let what = format!("{key} = '{said}' is no address and port");
                self.problem(text, what, format!("{key} = \"{default}\", or \"0.0.0.0:{}\" for all", default.port()));
                default
            }
        }
    }

    fn peer_address(&mut self, text: &ObjectsText, peer_listen: SocketAddr) -> String {
        match &text.peer_address {
            Some(spanned) if !reached_at(spanned.get_ref()) => {
                let said: String = spanned.get_ref().chars().take(80).collect();
                let what = format!("peer_address = '{said}' is nothing that other hosts could connect to");
                self.problem(spanned, what, "this host's name or address and a port: \"10.0.0.7:8788\"");
            }
            Some(spanned) => return spanned.get_ref().clone(),
            None if peer_listen.ip().is_unspecified() => {
                let what = "nothing says where other hosts reach this one";
                let mend = "peer_address = \"10.0.0.7:8788\": this host's name or address, and the port of peer_listen";
                self.problem(&text.memory, what, mend);
            }
            None => {}
        }
        peer_listen.to_string()
    }

    fn trusted_proxies(&mut self, texts: &[Spanned<String>]) -> TrustedProxies {
        let mut networks: Vec<Network> = Vec::new();
        for text in texts {
            match text.get_ref().parse() {
                Ok(network) => networks.push(network),
                Err(bad) => self.problem(text, format!("{bad}"), "trusted_proxies = [\"10.0.0.7\", \"fd00::/64\"]"),
            }
        }
        TrustedProxies::try_from(networks).unwrap_or_else(|bad| {
            if let Some(first) = texts.first() {
                self.problem(first, bad.to_string(), "name the network that they are in");
            }
            TrustedProxies::default()
        })
    }

    fn allow_private(&mut self, names: &[Spanned<String>]) -> BTreeSet<String> {
        if let Some(beyond) = names.get(MAX_PRIVATE) {
            self.problem(beyond, "too many names in allow_private", format!("at most {MAX_PRIVATE}"));
        }
        for name in names {
            let text = name.get_ref();
            let plain = (1..=MAX_NAME_BYTES).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
            if !plain || text.contains("://") {
                let said: String = text.chars().take(80).collect();
                let what = format!("'{said}' in allow_private is no name of a host and no address");
                self.problem(
                    name,
                    what,
                    "allow_private = [\"db.internal\", \"10.0.0.9\"], without scheme, port and path",
                );
            }
        }
        names.iter().take(MAX_PRIVATE).map(|name| name.get_ref().to_ascii_lowercase()).collect()
    }

    /// `all_memory_bytes`: of all engines together.
    fn object_limits(&mut self, text: &LimitsText, all_memory_bytes: u64) -> Limits {
        let usual = Limits::default();
        let memory_bytes = self.size_within("memory", text.memory.as_ref(), usual.memory_bytes, OBJECT_MEMORY_BYTES);
        if let Some(spanned) = &text.memory
            && memory_bytes > all_memory_bytes / 2
        {
            let what = format!("memory of {memory_bytes} bytes for one object, where all have {all_memory_bytes}");
            self.problem(spanned, what, "at most half of the memory of [objects]");
        }
        Limits {
            memory_bytes,
            cpu_ms: self.number("cpu_ms", text.cpu_ms.as_ref(), usual.cpu_ms, CPU_MS, "milliseconds"),
            queue_length: self.number("queue", text.queue.as_ref(), usual.queue_length, QUEUE, "events"),
            request_bytes: self.size_within("request", text.request.as_ref(), usual.request_bytes, REQUEST_BYTES),
            value_bytes: u32::try_from(self.size_within(
                "value",
                text.value.as_ref(),
                usual.value_bytes.into(),
                VALUE_BYTES,
            ))
            .unwrap_or(usual.value_bytes),
            database_bytes: self.size_within("database", text.database.as_ref(), usual.database_bytes, DATABASE_BYTES),
            ..usual
        }
    }

    fn size_within(
        &mut self,
        key: &str,
        text: Option<&Spanned<Bytes>>,
        default: u64,
        allowed: RangeInclusive<u64>,
    ) -> u64 {
        let Some(text) = text else { return default };
        match self.bytes(key, text) {
            Some(bytes) if !allowed.contains(&bytes) => {
                let (least, most) = (allowed.start(), allowed.end());
                self.problem(text, format!("{key} of {bytes} bytes cannot be"), format!("{least} to {most} bytes"));
                default
            }
            Some(bytes) => bytes,
            None => default,
        }
    }

    fn number(
        &mut self,
        key: &str,
        text: Option<&Spanned<u32>>,
        default: u32,
        allowed: RangeInclusive<u32>,
        unit: &str,
    ) -> u32 {
        let number = text.map_or(default, |text| *text.get_ref());
        if let Some(text) = text
            && !allowed.contains(&number)
        {
            let (least, most) = (allowed.start(), allowed.end());
            self.problem(text, format!("{key} = {number} cannot be"), format!("{least} to {most} {unit}"));
        }
        number
    }

    fn seconds(
        &mut self,
        key: &str,
        text: Option<&Spanned<u32>>,
        default_s: u32,
        allowed: RangeInclusive<u32>,
    ) -> Duration {
        Duration::from_secs(self.number(key, text, default_s, allowed, "seconds").into())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::AgentConfig, *};

    #[test]
    fn what_objects_may_have_and_where_they_are_reached() {
        let parse = |text: &str| AgentConfig::parse(text).expect("is right").objects;
        assert_eq!(parse(""), None);
        let some = parse("[objects]\ncpus = 1.5\nmemory = \"2GiB\"\npeer_address = \"lab-7.example.org:8788\"\n");
        let some = some.expect("is there");
        assert_eq!((some.cpu_millis, some.memory_bytes), (1_500, 2 << 30));
        assert_eq!((some.listen, some.peer_listen), (DEFAULT_LISTEN, DEFAULT_PEER_LISTEN));
        assert_eq!((some.hibernate.as_secs(), some.evict.as_secs(), some.drain.as_secs()), (10, 100, 10));
        let more = "[objects]\ncpus = 1\nmemory = \"2GiB\"\nlisten = \"0.0.0.0:80\"\npeer_listen = \"[::1]:81\"\n\
            trusted_proxies = [\"10.0.0.0/8\"]\nallow_private = [\"DB.internal\", \"10.0.0.9\"]\nhibernate_s = 2\nevict_s = 3\ndrain_s = 0\n";
        let more = parse(more).expect("is there");
        assert_eq!(more.peer_address, "[::1]:81");
        assert_eq!(more.limits, Limits::default());
        let trusts = |address: [u8; 4]| more.trusted_proxies.contains(address.into());
        assert_eq!((trusts([10, 1, 2, 3]), trusts([127, 0, 0, 1])), (true, false));
        assert!(more.allow_private.iter().eq(["10.0.0.9", "db.internal"]), "{more:?}");
        assert_eq!((more.hibernate.as_secs(), more.evict.as_secs(), more.drain.as_secs()), (2, 3, 0));
    }

    #[test]
    fn limits_of_an_object_are_the_hosts_to_set() {
        let parse = |limits: &str| {
            AgentConfig::parse(&format!(
                "[objects]\ncpus = 1\nmemory = \"1GiB\"\npeer_address = \"a:1\"\n[objects.limits]\n{limits}"
            ))
        };
        let limits =
            "memory = \"64MiB\"\ncpu_ms = 500\nqueue = 20\nrequest = \"1MiB\"\nvalue = \"4MiB\"\ndatabase = \"1GiB\"\n";
        let expected = Limits {
            memory_bytes: 64 << 20,
            cpu_ms: 500,
            queue_length: 20,
            request_bytes: 1 << 20,
            value_bytes: 4 << 20,
            database_bytes: 1 << 30,
            ..Limits::default()
        };
        assert_eq!(parse(limits).expect("is right").objects.map(|objects| objects.limits), Some(expected));
        let check = |limits: &str, expected: &str| {
            let found = parse(limits).expect_err("is wrong");
            assert!(found[0].to_string().starts_with(expected), "{expected}: {found:?}");
        };
        check("memory = \"1MiB\"\n", "line 6: memory of 1048576 bytes cannot be");
        check("memory = \"768MiB\"\n", "line 6: memory of 805306368 bytes for one object");
        check("cpu_ms = 0\n", "line 6: cpu_ms = 0 cannot be");
        check("queue = 0\n", "line 6: queue = 0 cannot be");
        check("request = \"1\"\n", "line 6: request of 1 bytes cannot be");
        check("value = \"9MiB\"\n", "line 6: value of 9437184 bytes cannot be");
        check("database = \"x\"\n", "line 6: database is no size");
        check("other = 1\n", "line 6: ");
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        let text = "[objects]\ncpus = 0\nmemory = \"1MiB\"\nlisten = \"8787\"\npeer_listen = \"0.0.0.0:0\"\n\
            peer_address = \"0.0.0.0:1\"\nallow_private = [\"http://db\"]\nhibernate_s = 0\nevict_s = 90000\ndrain_s = 601\n\
            trusted_proxies = [\"10.0.0.0/33\"]\n";
        let found: Vec<String> =
            AgentConfig::parse(text).expect_err("is wrong").iter().map(ToString::to_string).collect();
        for words in [
            "line 2: cpus = 0",
            "line 3: memory of 1048576 bytes",
            "line 4: listen = '8787'",
            "line 5: peer_listen = '0.0.0.0:0'",
            "line 6: peer_address = '0.0.0.0:1'",
            "line 7: 'http://db'",
            "line 8: hibernate_s = 0",
            "line 9: evict_s = 90000",
            "line 10: drain_s = 601",
            "line 11: '10.0.0.0/33' is no address",
        ] {
            assert!(found.iter().any(|problem| problem.starts_with(words)), "{words}: {found:#?}");
        }
        let found = AgentConfig::parse("[objects]\ncpus = 1\nmemory = \"1GiB\"\n").expect_err("is wrong");
        assert!(found[0].what.contains("where other hosts reach this one"), "{found:?}");
        let same = "[objects]\ncpus = 1\nmemory = \"1GiB\"\nlisten = \"127.0.0.1:9\"\npeer_listen = \"127.0.0.1:9\"\n";
        let found = AgentConfig::parse(same).expect_err("is wrong");
        assert!(found[0].to_string().starts_with("line 5: listen and peer_listen are both"), "{found:?}");
    }

    #[test]
    fn addresses_that_others_can_connect_to() {
        for good in ["10.0.0.7:1", "lab:8788", "lab.example.org:65535", "[fd00::1]:1"] {
            assert!(reached_at(good), "{good}");
        }
        for bad in ["", "lab", "lab:", "lab:0", "lab:70000", ":1", "fd00::1:1", "[::]:1", "0.0.0.0:1", "a b:1", "[x]:1"]
        {
            assert!(!reached_at(bad), "{bad}");
        }
    }
}
