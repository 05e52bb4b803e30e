//! What the kernel hands to a new program: arguments, environment, auxiliary vector.
#![allow(unsafe_code, reason = "the layout of a new program's stack is the kernel's promise")]

use core::ffi::{CStr, c_char};

/// An array of C strings that ends with null and is never freed.
#[derive(Debug, Clone, Copy)]
pub struct Vector(*const *const c_char);

impl Vector {
    /// # Safety
    /// The array and its strings stay as they are for as long as this process lives.
    #[must_use]
    pub unsafe fn new(array: *const *const c_char) -> Self {
        Self(array)
    }

    /// Its address, for `execve`.
    #[must_use]
    pub fn address(self) -> usize {
        self.0 as usize
    }

    /// The first string and the array behind it; `None` at the end.
    #[must_use]
    pub fn split_first(self) -> Option<(&'static CStr, Self)> {
        // SAFETY: the entry exists, because the end (null) has not been passed; a string that is not null is a C string.
        unsafe {
            let first = *self.0;
            (!first.is_null()).then(|| (CStr::from_ptr(first), Self(self.0.add(1))))
        }
    }

    /// The strings, in order.
    pub fn iter(self) -> impl Iterator<Item = &'static CStr> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let (first, behind) = rest.split_first()?;
            rest = behind;
            Some(first)
        })
    }

    /// Behind the null that ends it.
    fn end(self) -> *const usize {
        let mut rest = self;
        while let Some((_, behind)) = rest.split_first() {
            rest = behind;
        }
        // SAFETY: the null is part of the array; what is behind it is only read where it is known to be there.
        unsafe { rest.0.add(1).cast() }
    }
}

/// Arguments and environment of this program.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// `argv`, the program's own name first.
    pub arguments: Vector,
    /// `envp`.
    pub environment: Vector,
}

impl Start {
    /// # Safety
    /// `argv` and `envp` are those that the kernel put on the stack of this program, with the auxiliary vector behind.
    #[must_use]
    pub unsafe fn new(argv: *const *const c_char, envp: *const *const c_char) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self { arguments: Vector::new(argv), environment: Vector::new(envp) } }
    }

    /// The value of an environment variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&'static CStr> {
        variable(self.environment, name)
    }

    /// The pages that the kernel maps into every process, from their ELF header to their end (`vdso(7)`).
    #[must_use]
    pub fn vdso(&self) -> Option<&'static [u8]> {
        const AT_NULL: usize = 0;
        const AT_SYSINFO_EHDR: usize = 33;
        let mut entry = self.environment.end();
        // SAFETY: behind the environment stands the auxiliary vector, pairs of words up to AT_NULL; it names the
        // address of an ELF image whose first loaded segment begins at its header and is always readable.
        unsafe {
            while *entry != AT_NULL {
                if *entry == AT_SYSINFO_EHDR {
                    let base = *entry.add(1) as *const u8;
                    let header = core::slice::from_raw_parts(base, 64 + 56);
                    return elf_first_segment(header).map(|size| core::slice::from_raw_parts(base, size));
                }
                entry = entry.add(2);
            }
        }
        None
    }
}

/// The value of an environment variable.
#[must_use]
pub fn variable(environment: Vector, name: &str) -> Option<&'static CStr> {
    environment.iter().find_map(|entry| {
        let rest = entry.to_bytes_with_nul().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        CStr::from_bytes_until_nul(rest).ok()
    })
}

/// Bytes of the first program header's segment, when the header stands right behind the ELF header and maps the file
/// from its start, as the kernel's own image does.
fn elf_first_segment(header: &[u8]) -> Option<usize> {
    let word = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let starts = header.starts_with(b"\x7fELF\x02\x01") && word(32)? == 64;
    // p_type PT_LOAD, p_offset 0, p_filesz.
    let loads = header.get(64..68)? == 1_u32.to_le_bytes() && word(72)? == 0;
    (starts && loads).then_some(())?;
    usize::try_from(word(96)?).ok().filter(|size| *size <= 1 << 16)
}
