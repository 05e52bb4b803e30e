//! What any operator needs and nothing about memory: client, exec, certificates, lease, runtime.

pub mod admin;
pub mod certs;
pub mod client;
pub mod exec;
pub mod lease;
pub mod listen;
pub mod metrics;
pub mod runtime;
pub mod telemetry;
