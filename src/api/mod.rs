//! The types that the product adds to the Kubernetes API.

mod swap_device;

pub use swap_device::{Condition, MAX_BYTES, SwapDevice, SwapDeviceSpec, SwapDeviceState, SwapDeviceStatus};
