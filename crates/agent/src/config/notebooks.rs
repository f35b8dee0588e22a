//! `[notebooks]`: what of the host its notebooks may have, all together.

use std::path::PathBuf;

use domain::{machines::MachineKind, notebooks::NotebookOffer};
use serde::Deserialize;
use toml::Spanned;

use super::{Bytes, Checker, MIN_MEMORY_BYTES, Network, machines::NetworkText};

const DEFAULT_PLACES: u32 = 16;
const MAX_PLACES: u32 = 256;

#[derive(Debug, Clone, PartialEq)]
pub struct NotebooksConfig {
    pub offer: NotebookOffer,
    /// Where environments' Python comes from; looked for on the PATH if not given.
    pub python: Option<PathBuf>,
    pub network: Network,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotebooksText {
    cpus: Spanned<f64>,
    memory: Spanned<Bytes>,
    places: Option<Spanned<u32>>,
    python: Option<Spanned<PathBuf>>,
    network: Option<Spanned<NetworkText>>,
}

impl Checker<'_> {
    pub(super) fn notebooks(&mut self, text: &NotebooksText) -> NotebooksConfig {
        let cpu_millis = self.cpus(&text.cpus);
        let memory_bytes = self.size("memory", Some(&text.memory), MIN_MEMORY_BYTES, MIN_MEMORY_BYTES);
        let places = text.places.as_ref().map_or(DEFAULT_PLACES, |places| *places.get_ref());
        if let Some(spanned) = &text.places
            && !(1..=MAX_PLACES).contains(&places)
        {
            let what = format!("places = {places} cannot be");
            self.problem(spanned, what, format!("1 to {MAX_PLACES}; leave [notebooks] out to take none"));
        }
        let python = text.python.as_ref().map(|path| self.absolute("python", path));
        let network = self.network(text.network.as_ref(), MachineKind::Sandbox);
        NotebooksConfig {
            offer: NotebookOffer { cpu_millis, memory_bytes, places, takes_images: false, gives_warm: false },
            python,
            network,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AgentConfig, Network};

    #[test]
    fn what_notebooks_may_have_is_read() {
        let parse = |text: &str| AgentConfig::parse(text).expect("is right").notebooks;
        assert_eq!(parse(""), None);
        let some = parse("[notebooks]\ncpus = 1.5\nmemory = \"8GiB\"\n").expect("is there");
        assert_eq!((some.offer.cpu_millis, some.offer.memory_bytes, some.offer.places), (1_500, 8 << 30, 16));
        assert_eq!((some.python, some.network), (None, Network::None));
        let more = "[notebooks]\ncpus = 4\nmemory = \"8GiB\"\nplaces = 3\npython = \"/usr/bin/python3\"\n\
            network = { loopback_ports = [5432] }\n";
        let more = parse(more).expect("is there");
        assert_eq!((more.offer.places, more.network), (3, Network::LoopbackPorts(vec![5432])));
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        let text = "[notebooks]\ncpus = 0\nmemory = \"some\"\nplaces = 0\npython = \"python3\"\nnetwork = \"bridge\"\n";
        let found: Vec<String> =
            AgentConfig::parse(text).expect_err("is wrong").iter().map(ToString::to_string).collect();
        for words in
            ["line 2: cpus = 0", "line 3: memory is no size", "line 4: places = 0", "line 5: python", "line 6: network"]
        {
            assert!(found.iter().any(|problem| problem.starts_with(words)), "{words}: {found:#?}");
        }
        let found = AgentConfig::parse("[notebooks]\ncpus = 1\n").expect_err("is wrong");
        assert!(found[0].what.contains("missing field `memory`"), "{found:?}");
    }
}
