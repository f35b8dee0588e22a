//! What is asked of reservations, read from what the doors take. Each fault names its field.

use domain::{
    environments::EnvironmentSpec,
    labels::Labels,
    reservations::{Change, MAX_MACHINES, Until, When},
    sessions::Keep,
};
use jiff::{SignedDuration, Timestamp};

use crate::{Error, Result};

/// What is to be booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// These, by id or name. `field` is the one of the request that names them.
    Machines { field: &'static str, machines: Vec<String> },
    /// Any `count` that carry the labels.
    Labels { labels: Labels, count: usize },
}

/// A booking that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub what: What,
    pub when: When,
    pub environment: EnvironmentSpec,
    pub purpose: Option<String>,
    pub keep: Keep,
}

/// A change that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeAsk {
    pub change: Change,
}

/// A time as the doors write it.
pub(crate) fn time(field: &'static str, text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| Error::invalid(field, "is no RFC 3339 time such as 2026-03-01T09:00:00Z"))
}

fn until(end: Option<&str>, duration_s: Option<u64>) -> Result<Option<Until>> {
    match (end, duration_s) {
        (Some(_), Some(_)) => Err(Error::invalid("end", "give either end or duration_s, not both")),
        (Some(end), None) => Ok(Some(Until::End(time("end", end)?))),
        (None, Some(seconds)) => {
            let seconds = i64::try_from(seconds).map_err(|_| Error::invalid("duration_s", "is too long"))?;
            Ok(Some(Until::For(SignedDuration::from_secs(seconds))))
        }
        (None, None) => Ok(None),
    }
}

fn count(field: &'static str, count: usize) -> Result<usize> {
    match count {
        1..=MAX_MACHINES => Ok(count),
        _ => Err(Error::invalid(field, format!("has to be from 1 to {MAX_MACHINES}"))),
    }
}

impl TryFrom<api::reservations::LabelsAsk> for Selector {
    type Error = Error;
    fn try_from(ask: api::reservations::LabelsAsk) -> Result<Self> {
        let labels = match ask {
            api::reservations::LabelsAsk::Map(map) => Labels::try_from(map),
            api::reservations::LabelsAsk::Text(text) => text.parse(),
        };
        labels.map(Selector).map_err(|bad| Error::invalid("labels", bad.to_string()))
    }
}

struct Selector(Labels);

impl TryFrom<api::reservations::NewReservation> for Ask {
    type Error = Error;
    fn try_from(ask: api::reservations::NewReservation) -> Result<Self> {
        let wanted = ask.count;
        let what = match (ask.machine, ask.machines, ask.labels) {
            (Some(machine), None, None) => What::Machines { field: "machine", machines: vec![machine] },
            (None, Some(machines), None) => {
                count("machines", machines.len())?;
                What::Machines { field: "machines", machines }
            }
            (None, None, Some(labels)) => {
                let count = count("count", usize::try_from(wanted.unwrap_or(1)).unwrap_or(usize::MAX))?;
                What::Labels { labels: Selector::try_from(labels)?.0, count }
            }
            (None, None, None) => {
                return Err(Error::invalid("machine", "name a machine, several machines, or labels with a count"));
            }
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                return Err(Error::invalid("machine", "give only one of machine, machines and labels"));
            }
        };
        if let (What::Machines { machines, .. }, Some(wanted)) = (&what, wanted)
            && usize::try_from(wanted).ok() != Some(machines.len())
        {
            return Err(Error::invalid("count", "goes with labels; the machines that are named are all booked"));
        }
        let until = until(ask.end.as_deref(), ask.duration_s)?
            .ok_or_else(|| Error::invalid("duration_s", "say for how long (duration_s), or until when (end)"))?;
        let start = ask.start.as_deref().map(|start| time("start", start)).transpose()?;
        Ok(Ask {
            what,
            when: When { start, until },
            environment: ask.environment.map(EnvironmentSpec::from).unwrap_or_default(),
            purpose: ask.purpose.filter(|purpose| !purpose.trim().is_empty()),
            keep: ask.keep.unwrap_or(Keep::Reservation),
        })
    }
}

impl TryFrom<api::reservations::ReservationChange> for ChangeAsk {
    type Error = Error;
    fn try_from(change: api::reservations::ReservationChange) -> Result<Self> {
        let start = change.start.as_deref().map(|start| time("start", start)).transpose()?;
        let until = until(change.end.as_deref(), change.duration_s)?;
        Ok(ChangeAsk { change: Change { start, until, purpose: change.purpose } })
    }
}
