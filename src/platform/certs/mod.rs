//! Serving certificates: [`follow()`] reads a mounted pair whenever its bytes change,
//! [`issue()`] makes one, [`Publisher`] puts it where both sides find it.

mod follow;
mod issue;
mod publish;

pub use follow::{CertificateError, CertificateFiles, Follower, follow};
pub use issue::{Issued, issue};
pub use publish::{Names, Publisher};
