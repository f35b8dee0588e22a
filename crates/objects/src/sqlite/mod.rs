//! SQLite inside the engine, on pages that the host keeps.
