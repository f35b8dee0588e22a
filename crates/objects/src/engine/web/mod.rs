//! Native parts of the web APIs.
