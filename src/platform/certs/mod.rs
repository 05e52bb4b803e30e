//! Serving certificates: [`follow()`] reads a mounted pair whenever its bytes change, [`Publisher`] keeps a pair and
//! the trust in it where both sides find them.
//!
//! An authority and a leaf are two things with two lives. A new authority is made known first, beside the one before
//! it; a leaf that needs it comes only when every entry of the live configuration has been seen to trust it.

mod bundle;
mod due;
mod follow;
mod issue;
mod metrics;
mod publish;
mod trust;

pub use follow::{CertificateError, CertificateFiles, Follower, follow};
pub use issue::Lives;
pub use metrics::{PublishedMetrics, ServedMetrics};
pub use publish::{Names, Publisher, Source};
