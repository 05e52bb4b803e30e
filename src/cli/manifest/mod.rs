//! Manifests as people keep them: files with several documents, comments and an order of keys.
//!
//! bytes → [`documents`] → [`yaml`] or [`json`] → [`node::Node`] (order, lines) → `serde_json::Value` → the engine;
//! and back: [`edit`] changes the text of the document where it can, [`render`] writes it anew where it cannot.

pub(super) mod documents;
mod edit;
pub(super) mod json;
pub(super) mod kinds;
pub(super) mod node;
pub(super) mod render;
pub(super) mod scalar;
pub(super) mod source;
pub(super) mod write;
mod yaml;
