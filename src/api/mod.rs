//! The types that the product adds to the Kubernetes API.

mod swap_device;

pub use swap_device::{MAX_MESSAGE, SwapDevice, SwapDeviceSpec, SwapDeviceState, SwapDeviceStatus};
