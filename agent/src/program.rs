//! Finds the program to start, as `execvp(3)` does, and looks at it.

use core::{ffi::CStr, ops::ControlFlow};

use crate::{
    arch::ELF_MACHINE,
    start::{Start, Vector, variable},
    sys::{self, Errno, File},
    text::Path,
};

/// Where programs are looked for when the environment does not say (the default of OCI runtimes).
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How many interpreters of interpreters are followed (the kernel's `BINPRM_MAX_RECURSION` and one).
const INTERPRETERS: usize = 5;

/// Calls `each` with every path that the name may mean, until it breaks.
fn candidates<T>(name: &CStr, environment: Vector, mut each: impl FnMut(&CStr) -> ControlFlow<T>) -> Option<T> {
    if name.to_bytes().contains(&b'/') {
        return each(name).break_value();
    }
    let path = variable(environment, "PATH").map_or(DEFAULT_PATH, CStr::to_bytes);
    path.split(|byte| *byte == b':').find_map(|folder| {
        let mut candidate = Path::new();
        candidate.push(folder);
        if !folder.is_empty() {
            candidate.push(b"/");
        }
        candidate.push(name.to_bytes());
        each(candidate.c_str()?).break_value()
    })
}

/// Becomes the program. Returns only when it fails, with the error that tells most.
#[must_use]
pub fn execute(name: &CStr, arguments: Vector, start: &Start) -> Errno {
    if name.is_empty() {
        return Errno::NOENT;
    }
    let mut told = Errno::NOENT;
    let failed = candidates(name, start.environment, |path| match sys::execute(path, arguments, start.environment) {
        Errno::NOENT | Errno::NOTDIR => ControlFlow::Continue(()),
        Errno::ACCES => {
            told = Errno::ACCES;
            ControlFlow::Continue(())
        }
        error => ControlFlow::Break(error),
    });
    failed.unwrap_or(told)
}

/// What is known of a program before it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing stands against tracing it.
    Traceable,
    /// Not for this processor, or for 32 bits.
    Foreign,
    /// This user may execute but not read it: the kernel lets nobody trace such a program.
    Unreadable,
}

/// The program that will run, and whether it carries capabilities of its own; `None`: it is not found.
#[must_use]
pub fn look(name: &CStr, environment: Vector) -> Option<(Kind, bool)> {
    candidates(name, environment, |path| match sys::exists_executable(path) {
        Ok(()) => {
            let capable = sys::xattr_size(path, c"security.capability").is_ok();
            ControlFlow::Break((kind(path, INTERPRETERS), capable))
        }
        Err(_) => ControlFlow::Continue(()),
    })
}

/// What a file is; of a script, what its interpreter is.
fn kind(path: &CStr, depth: usize) -> Kind {
    let mut head = [0; 256];
    let read = File::open(path).and_then(|file| file.read(&mut head));
    let head = match read {
        Ok(count) => head.get(..count).unwrap_or_default(),
        Err(Errno::ACCES | Errno::PERM) => return Kind::Unreadable,
        // The exec will say it better.
        Err(_) => return Kind::Traceable,
    };
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut interpreter = Path::new();
        interpreter.push(crate::text::words(line).next().unwrap_or_default());
        return match interpreter.c_str() {
            Some(path) if depth > 0 => kind(path, depth - 1),
            _ => Kind::Traceable,
        };
    }
    if !head.starts_with(b"\x7fELF") {
        return Kind::Traceable;
    }
    // EI_CLASS is ELFCLASS64, EI_DATA is ELFDATA2LSB.
    let wide = head.get(4..6) == Some(&[2, 1]);
    let machine = head.get(18..20).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
    if wide && machine == Some(ELF_MACHINE) { Kind::Traceable } else { Kind::Foreign }
}
