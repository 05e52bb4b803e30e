//! What the product knows, and nothing else.
//!
//! Pure: no runtime, no client, no HTTP, no clock, no file. `tests/domain_is_pure.rs`
//! holds this, so that every rule can be shown by a table.

pub mod annotations;
pub mod inject;
pub mod intent;
pub mod names;
pub mod probe;
pub mod quantity;
pub mod surroundings;
pub mod verdict;
