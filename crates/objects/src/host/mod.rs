//! The trusted half: the log, the files, the sockets, the clock, and the engine's process.
