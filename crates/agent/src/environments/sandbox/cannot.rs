//! What a helper could not do. The agent, another process, gets it in words.

use super::super::Cause;

#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}: {source}")]
pub struct Cannot {
    doing: String,
    source: Cause,
}

/// For `map_err`: what was to be done when it failed.
pub fn cannot<E: Into<Cause>>(doing: impl Into<String>) -> impl FnOnce(E) -> Cannot {
    move |source| Cannot { doing: doing.into(), source: source.into() }
}
