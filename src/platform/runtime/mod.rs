//! Tasks that cannot end unseen, readiness by name, one way to stop.

mod readiness;
mod shutdown;
mod supervisor;

pub use readiness::Readiness;
pub use shutdown::Shutdown;
pub use supervisor::Supervisor;
