//! All modules of a deployment's version in one piece, as the server keeps it and hosts fetch it: MessagePack, known by its
//! SHA-256.

use bytes::Bytes;
use domain::deployments::ModuleKind;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    pub modules: Vec<Module>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// As other modules import it, relative to the root.
    pub name: String,
    pub kind: ModuleKind,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("the modules cannot be written: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    #[error("these are no modules: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
}

impl Bundle {
    /// The modules in the order of their names, so that the same modules are always the same bytes.
    pub fn encode(mut self) -> Result<Vec<u8>, BundleError> {
        self.modules.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rmp_serde::to_vec_named(&self)?)
    }
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        Ok(rmp_serde::from_slice(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_modules_are_the_same_bytes() {
        let module =
            |name: &str| Module { name: name.to_owned(), kind: ModuleKind::Esm, body: Bytes::from_static(b"\0\xff") };
        let bundle = |names: [&str; 2]| Bundle { modules: names.map(module).to_vec() };
        let bytes = bundle(["b.js", "a.js"]).encode().unwrap();
        assert_eq!(bytes, bundle(["a.js", "b.js"]).encode().unwrap());
        assert_eq!(Bundle::decode(&bytes).unwrap(), bundle(["a.js", "b.js"]));
        assert!(Bundle::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
