//! Two ways to be built: as any Rust program, for clippy and `cargo check`, and freestanding, which is what ships.
//!
//! `agent/build` asks for the second with `-C panic=abort`; the flags of the linker follow from it here.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(freestanding)");
    if std::env::var("CARGO_CFG_PANIC").as_deref() == Ok("abort") {
        println!("cargo::rustc-cfg=freestanding");
        for argument in
            ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noexecstack"]
        {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
