//! Reports: one versioned model, rendered to files. Renderers see the model and nothing else.

pub mod model;
