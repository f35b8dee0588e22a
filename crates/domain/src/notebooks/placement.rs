//! Where a run goes.

use super::{Notebook, NotebookOffer, NotebookSize, Software};
use crate::{
    hosts::{HostIntent, HostLink},
    ids::{HostId, RunId},
    labels::Labels,
    machines::MachineLimits,
};

/// A host as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub host: HostId,
    pub name: String,
    pub labels: Labels,
    pub intent: HostIntent,
    pub link: HostLink,
    /// `None`: the host takes no notebooks.
    pub offer: Option<NotebookOffer>,
    pub used_cpu_millis: u64,
    pub used_memory_bytes: u64,
    pub used_places: u32,
    /// The person's files are here.
    pub has_files: bool,
    /// Runs that wait here for whoever asks for this environment and size.
    pub warm: Vec<RunId>,
    /// Other runs that wait here, which give way to whoever asks for something else.
    pub spare: Vec<RunId>,
}

/// Where a run goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed<'a> {
    /// It is there already and gets the person's files.
    Warm(&'a Place, RunId),
    Cold(&'a Place),
    /// There is room once this warm run has been ended.
    After(&'a Place, RunId),
}

impl Place {
    pub(super) fn fits(&self, size: MachineLimits) -> bool {
        self.offer.is_some_and(|offer| {
            self.used_places < offer.places
                && self.used_cpu_millis + u64::from(size.cpu_millis) <= u64::from(offer.cpu_millis)
                && self.used_memory_bytes + size.memory_bytes <= offer.memory_bytes
        })
    }
    /// Whether the notebook could go here if there were room.
    pub(super) fn could_take(&self, notebook: &Notebook) -> bool {
        notebook.labels.select(&self.labels) && self.could_ever_fit(notebook.size.limits())
    }
    fn could_ever_fit(&self, size: MachineLimits) -> bool {
        self.offer.is_some_and(|offer| {
            offer.places > 0 && size.cpu_millis <= offer.cpu_millis && size.memory_bytes <= offer.memory_bytes
        })
    }
    pub(super) fn is_ready(&self) -> bool {
        self.link == HostLink::Online && self.intent == HostIntent::InService
    }
    pub(super) fn runs(&self, software: &Software) -> bool {
        match software {
            Software::Packages { .. } => self.offer.is_some(),
            Software::Image { .. } => self.offer.is_some_and(|offer| offer.takes_images),
        }
    }
    fn free_memory(&self) -> u64 {
        self.offer.map_or(0, |offer| offer.memory_bytes.saturating_sub(self.used_memory_bytes))
    }
}

/// Which host takes a run, or why none does now. Who has files goes where they are; a run that waits warm is taken; else the
/// host with the most free memory takes it, of equals the first by name; where there is no room, what waits warm for others
/// gives way.
pub fn place<'a>(
    places: &'a [Place],
    labels: &Labels,
    size: &NotebookSize,
    software: &Software,
) -> Result<Placed<'a>, String> {
    let limits = size.limits();
    let offering: Vec<&Place> = places.iter().filter(|place| place.offer.is_some()).collect();
    if offering.is_empty() {
        return Err("no host takes notebooks; an admin adds [notebooks] to a host's configuration".to_owned());
    }
    let at_home: Vec<&Place> = offering.iter().copied().filter(|place| place.has_files).collect();
    let (among, whose, has, is) = if at_home.is_empty() {
        (offering, "no host that takes notebooks", "has", "is large enough")
    } else {
        (at_home, "your files are on a host that", "does not have", "is too small")
    };
    let fitting: Vec<&Place> = among.iter().copied().filter(|place| labels.select(&place.labels)).collect();
    if fitting.is_empty() {
        return Err(format!("{whose} {has} the labels {labels}"));
    }
    let fitting: Vec<&Place> = fitting.into_iter().filter(|place| place.runs(software)).collect();
    if fitting.is_empty() {
        return Err(format!(
            "{whose} {has} an engine for images; an admin adds container_socket to a host's configuration"
        ));
    }
    if !fitting.iter().any(|place| place.could_ever_fit(limits)) {
        return Err(format!("{whose} {is} for the size {}", size.name));
    }
    let ready: Vec<&Place> = fitting.iter().copied().filter(|place| place.is_ready()).collect();
    if ready.is_empty() {
        let names: Vec<&str> = fitting.iter().take(3).map(|place| place.name.as_str()).collect();
        return Err(format!("waits for a host to be online and in service: {}", names.join(", ")));
    }
    if let Some((place, run)) = ready.iter().find_map(|place| Some((*place, *place.warm.first()?))) {
        return Ok(Placed::Warm(place, run));
    }
    if let Some(place) = freest(ready.iter().copied().filter(|place| place.fits(limits))) {
        return Ok(Placed::Cold(place));
    }
    ready
        .iter()
        .find_map(|place| Some(Placed::After(place, *place.spare.first()?)))
        .ok_or_else(|| format!("waits for room for the size {}: other notebooks have it", size.name))
}

/// The one with the most free memory, of equals the first by name.
pub(super) fn freest<'a>(places: impl Iterator<Item = &'a Place>) -> Option<&'a Place> {
    places.min_by(|a, b| b.free_memory().cmp(&a.free_memory()).then_with(|| a.name.cmp(&b.name)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::NotebookPolicy, *};

    pub(in super::super) fn a_place(name: &str, memory_gib: u64) -> Place {
        Place {
            host: HostId::new(),
            name: name.to_owned(),
            labels: "room=b4".parse().unwrap(),
            intent: HostIntent::InService,
            link: HostLink::Online,
            offer: Some(NotebookOffer {
                cpu_millis: 4_000,
                memory_bytes: memory_gib << 30,
                places: 2,
                takes_images: false,
                gives_warm: true,
            }),
            used_cpu_millis: 0,
            used_memory_bytes: 0,
            used_places: 0,
            has_files: false,
            warm: Vec::new(),
            spare: Vec::new(),
        }
    }

    fn size(name: &str) -> NotebookSize {
        NotebookPolicy::default().size(Some(name)).unwrap().clone()
    }

    fn packages() -> Software {
        Software::Packages { requirements: String::new() }
    }

    fn placed(places: &[Place], labels: &str, name: &str) -> Result<String, String> {
        place(places, &labels.parse().unwrap(), &size(name), &packages()).map(|placed| match placed {
            Placed::Cold(place) => place.name.clone(),
            other @ (Placed::Warm(..) | Placed::After(..)) => panic!("{other:?}"),
        })
    }

    #[test]
    fn the_freest_host_that_fits_takes_it_and_files_bind() {
        let (mut a, b) = (a_place("a", 8), a_place("b", 6));
        assert_eq!(placed(&[b.clone(), a.clone()], "", "small"), Ok("a".to_owned()));
        a.used_memory_bytes = 4 << 30;
        assert_eq!(placed(&[a.clone(), b.clone()], "", "small"), Ok("b".to_owned()));
        a.has_files = true;
        assert_eq!(placed(&[a.clone(), b.clone()], "", "small"), Ok("a".to_owned()));
        a.used_places = 2;
        let why = placed(&[a, b], "", "small").unwrap_err();
        assert!(why.starts_with("waits for room"), "{why}");
    }

    #[test]
    fn where_none_fits_the_reason_is_said() {
        let mut a = a_place("a", 8);
        let why = |places: &[Place], labels, size| placed(places, labels, size).unwrap_err();
        assert!(why(&[], "", "small").contains("no host takes notebooks"));
        assert_eq!(why(&[a.clone()], "gpu=a100", "small"), "no host that takes notebooks has the labels gpu=a100");
        assert_eq!(why(&[a.clone()], "", "large"), "no host that takes notebooks is large enough for the size large");
        a.has_files = true;
        assert_eq!(why(&[a.clone()], "", "large"), "your files are on a host that is too small for the size large");
        a.link = HostLink::Offline;
        assert_eq!(why(&[a], "", "small"), "waits for a host to be online and in service: a");
    }

    #[test]
    fn what_waits_warm_is_taken_or_gives_way() {
        let (mut a, mut b) = (a_place("a", 8), a_place("b", 6));
        let (run, other) = (RunId::new(), RunId::new());
        let place = |places: &[Place]| match place(places, &Labels::default(), &size("small"), &packages()) {
            Ok(Placed::Warm(place, run)) => format!("warm {} {run}", place.name),
            Ok(Placed::Cold(place)) => format!("cold {}", place.name),
            Ok(Placed::After(place, run)) => format!("after {} {run}", place.name),
            Err(why) => why,
        };
        b.warm = vec![run];
        assert_eq!(place(&[a.clone(), b.clone()]), format!("warm b {run}"), "even where less is free");
        a.has_files = true;
        assert_eq!(place(&[a.clone(), b.clone()]), "cold a", "files bind");
        a.used_places = 2;
        a.spare = vec![other];
        assert_eq!(place(&[a, b]), format!("after a {other}"));
    }

    #[test]
    fn an_image_needs_an_engine() {
        let image = Software::Image { image: "lab:1".to_owned() };
        let mut a = a_place("a", 8);
        let why = place(std::slice::from_ref(&a), &Labels::default(), &size("small"), &image).unwrap_err();
        assert!(why.contains("engine for images"), "{why}");
        a.offer = a.offer.map(|offer| NotebookOffer { takes_images: true, ..offer });
        assert!(place(&[a], &Labels::default(), &size("small"), &image).is_ok());
    }
}
