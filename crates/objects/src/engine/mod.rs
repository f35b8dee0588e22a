//! The hostile half: runs what users wrote, and reaches the outside by frames alone.

pub mod clone;
pub mod realm;
pub mod web;
