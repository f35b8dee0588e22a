//! The hostile half: runs what users wrote, and reaches the outside by frames alone.

pub mod clone;
mod raw;
pub mod realm;
pub mod web;
