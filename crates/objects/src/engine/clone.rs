//! Structured clone to bytes and back.
