//! `install`: copies the agent into a folder that other containers mount.

use core::{ffi::CStr, fmt};

use crate::{
    arguments::Install,
    sys::{self, Errno, File},
    text::{Path, Printable},
};

/// The file that a copy starts as; only a whole one gets its name.
const NEW: &str = ".memlock.new";

/// What could not be copied.
#[derive(Debug)]
pub struct Failure {
    what: &'static str,
    file: Path,
    why: Errno,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = Printable(self.file.bytes());
        write!(f, "install could not {} {file} ({})", self.what, self.why)?;
        match self.why {
            Errno::PERM => f.write_str(": run the init container as uid 0 with the capability SETFCAP"),
            Errno::ACCES => f.write_str(": give its user the right to write there"),
            Errno(28) => f.write_str(": the volume is full"),
            Errno(30) => f.write_str(": the volume is read-only"),
            Errno(95) => f.write_str(": its file system keeps no file capabilities; use the image volume"),
            _ => f.write_str(": see that it is there"),
        }
    }
}

/// Copies this program and the preload that stands beside it, and the launchers that are asked for. Safe to repeat, also beside
/// a copy that is running.
pub fn install(wanted: Install) -> Result<(), Failure> {
    let mut buffer = [0; 4000];
    let own = sys::read_link(c"/proc/self/exe", &mut buffer)
        .map_err(|why| failure("find", &Path::of(format_args!("/proc/self/exe")), why))?;
    let cut = own.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
    let from = own.get(..cut).unwrap_or_default();
    // Not through the name: the program runs from there, whatever happens to it.
    let program = Path::of(format_args!("/proc/self/exe"));
    copy(&program, wanted.folder, "memlock", None)?;
    let mut library = Path::new();
    library.push(from);
    library.push(b"/libmemlock.so");
    copy(&library, wanted.folder, "libmemlock.so", None)?;
    if wanted.lock {
        copy(&program, wanted.folder, "memlock-lock", Some(1 << sys::IPC_LOCK))?;
    }
    if wanted.flush {
        copy(&program, wanted.folder, "memlock-flush", Some(1 << sys::IPC_LOCK | 1 << sys::SYS_RESOURCE))?;
    }
    Ok(())
}

fn copy(from: &Path, folder: &CStr, name: &'static str, capabilities: Option<u32>) -> Result<(), Failure> {
    let path = |name: &str| {
        let mut path = Path::new();
        path.push(folder.to_bytes());
        path.push(b"/");
        path.push(name.as_bytes());
        path
    };
    let (new, last) = (path(NEW), path(name));
    let c = |path: &Path| path.c_str().map(|_| ()).ok_or_else(|| failure("name", path, Errno::INVAL));
    c(from)?;
    c(&new)?;
    c(&last)?;
    let [from_c, new_c, last_c] = [from, &new, &last].map(|path| path.c_str().unwrap_or_default());
    // Left by a container that was killed half way.
    match sys::unlink(new_c) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(why) => return Err(failure("replace", &new, why)),
    }
    let source = File::open(from_c).map_err(|why| failure("read", from, why))?;
    let target = sys::create(new_c).map_err(|why| failure("create", &new, why))?;
    let mut buffer = [0; 16384];
    loop {
        let count = source.read(&mut buffer).map_err(|why| failure("read", from, why))?;
        if count == 0 {
            break;
        }
        target.write(buffer.get(..count).unwrap_or_default()).map_err(|why| failure("write", &new, why))?;
    }
    sys::make_executable(&target).map_err(|why| failure("make executable", &new, why))?;
    if let Some(capabilities) = capabilities {
        // After the last write, which would take it away (capabilities(7)).
        sys::set_xattr(&target, c"security.capability", &file_capability(capabilities))
            .map_err(|why| failure("give its file capability to", &last, why))?;
    }
    drop(target);
    sys::rename(new_c, last_c).map_err(|why| failure("put into its place", &last, why))
}

fn failure(what: &'static str, file: &Path, why: Errno) -> Failure {
    let mut copy = Path::new();
    copy.push(file.bytes());
    Failure { what, file: copy, why }
}

/// `struct vfs_cap_data`, version 2, permitted and effective (`include/uapi/linux/capability.h`).
fn file_capability(permitted: u32) -> [u8; 20] {
    let mut data = [0; 20];
    let words = [0x0200_0001_u32, permitted, 0, 0, 0];
    for (slot, word) in data.chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    data
}
