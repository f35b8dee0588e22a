//! The rules of Berth: no I/O, no clock, no async. Builds for WebAssembly, so that a page computes what one can do
//! next by the same rule that the server enforces.
//!
//! One file a capability; the words are those of the glossary in docs/ARCHITECTURE.md.

pub mod access;
pub mod certificates;
pub mod deployments;
pub mod environments;
pub mod events;
pub mod hosts;
pub mod ids;
pub mod instructions;
pub mod interval;
pub mod labels;
pub mod machines;
pub mod names;
pub mod notebooks;
pub mod people;
pub mod proxies;
pub mod reservations;
pub mod sessions;
pub mod tokens;
pub mod utilization;

/// A state or word that was read from outside (database, wire, form) and is none of the known ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is no {kind}; known are: {known}")]
pub struct UnknownWord {
    pub kind: &'static str,
    pub word: String,
    pub known: String,
}

/// Declares an enum of plain words with one spelling for database, wire, API and page.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident ($kind:literal) { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name { $($(#[$vmeta])* #[serde(rename = $word)] $variant),+ }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The one spelling, in the database, on the wire, in the API and on pages.
            pub fn word(self) -> &'static str { match self { $($name::$variant => $word),+ } }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.word()) }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok($name::$variant),)+
                    other => Err($crate::UnknownWord { kind: $kind, word: other.chars().take(64).collect(), known: [$($word),+].join(", ") }),
                }
            }
        }
        $crate::word_schema!($name: $($word),+);
    };
}

/// The schema of a type of words in the OpenAPI document; nothing where nobody asks for it.
#[cfg(feature = "openapi")]
#[doc(hidden)]
#[macro_export]
macro_rules! word_schema {
    ($name:ident: $($word:literal),+) => {
        impl $crate::utoipa::PartialSchema for $name {
            fn schema() -> $crate::utoipa::openapi::RefOr<$crate::utoipa::openapi::schema::Schema> {
                let words = $crate::utoipa::openapi::ObjectBuilder::new()
                    .schema_type($crate::utoipa::openapi::Type::String)
                    .enum_values(Some([$($word),+]));
                words.into()
            }
        }
        impl $crate::utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
        }
    };
}

#[cfg(not(feature = "openapi"))]
#[doc(hidden)]
#[macro_export]
macro_rules! word_schema {
    ($name:ident: $($word:literal),+) => {};
}

#[cfg(feature = "openapi")]
#[doc(hidden)]
pub use utoipa;
