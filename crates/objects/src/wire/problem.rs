//! What went wrong, as JavaScript sees it.

use super::Cloned;
use serde::{Deserialize, Serialize};

/// An `Error` on its way to whoever waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Problem {
    pub name: String,
    pub message: String,
    /// For the console and whoever runs the deployment; never shown to an HTTP client.
    pub stack: Option<String>,
    /// The error's own properties, an object in the clone format.
    pub properties: Option<Cloned>,
    /// Thrown by the object's code rather than on the way to it.
    pub remote: bool,
    /// The same request may succeed if it is sent again.
    pub retryable: bool,
    /// The object has more to do than it can: do not try again at once.
    pub overloaded: bool,
    /// The object's memory is gone, its storage is not.
    pub object_reset: bool,
    /// Where in the user's modules: name, line and column from 1.
    pub place: Option<(String, u32, u32)>,
}

impl Problem {
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into(), ..Self::default() }
    }

    /// An `Error` after which the object is started anew.
    pub fn reset(message: impl Into<String>) -> Self {
        Self { object_reset: true, ..Self::new("Error", message) }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl std::error::Error for Problem {}
