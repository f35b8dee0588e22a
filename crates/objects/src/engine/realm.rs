//! One QuickJS runtime and context, with the private `core` object and the web APIs.
