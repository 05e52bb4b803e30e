//! As `agent/build.rs`: `-C panic=abort` asks for the library that ships.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(freestanding)");
    if std::env::var("CARGO_CFG_PANIC").as_deref() == Ok("abort") {
        println!("cargo::rustc-cfg=freestanding");
        for argument in ["-nostartfiles", "-nostdlib", "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,defs"] {
            println!("cargo::rustc-link-arg-cdylib={argument}");
        }
    }
}
