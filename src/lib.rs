//! memlock-operator: annotated swap-device pods get what they need to lock
//! their memory, and the cluster says whether they did.
//!
//! Two flows, each one way, both leaning on the pure [`domain`]:
//!
//! * admission: bytes → [`webhook`] → `domain::intent` → `domain::inject` → JSON patch
//! * verification: watch → [`controller`] → exec → `domain::probe` → `domain::verdict` → pod status
//!
//! [`api`] is what both tell Kubernetes of, [`platform`] holds what any operator needs, [`cli`] the commands.

pub mod api;
pub mod cli;
pub mod controller;
pub mod domain;
pub mod platform;
pub mod webhook;
