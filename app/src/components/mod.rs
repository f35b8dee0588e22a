//! What pages are made of: our own components on native elements. Each file's doc comment shows its use.
//!
//! Rules: no `now()`, no local zone and no random ids in a view (server and browser must render the same at first);
//! no `<style>` elements (the policy forbids them); lengths that data decides go into SVG or `style` attributes.

pub mod chart;
pub mod confirm;
pub mod console;
pub mod copy;
pub mod empty;
pub mod field;
pub mod icon;
pub mod keys;
pub mod layout;
pub mod load;
pub mod navigation;
pub mod notices;
pub mod palette;
pub mod problem;
pub mod skeleton;
pub mod stale;
pub mod status;
pub mod steps;
pub mod table;
pub mod tags;
pub mod terminal;
pub mod theme;
pub mod time;
pub mod timeline;
pub mod units;
