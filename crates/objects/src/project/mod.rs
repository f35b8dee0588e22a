//! What a user's folder says: the configuration and the modules that it names.
