//! What goes over the wire, byte for byte, and what happens to bytes that are no message.

mod frames;
mod golden;
