//! Files and folders.
#![allow(unsafe_code, reason = "system calls; the references that they get live as long as the call")]

use core::ffi::CStr;

use super::{Errno, call};
use crate::arch::number;

const AT_FDCWD: usize = (-100_isize).cast_unsigned();
const O_WRONLY: usize = 1;
const O_CREAT: usize = 0o100;
const O_EXCL: usize = 0o200;
const O_APPEND: usize = 0o2000;
const O_CLOEXEC: usize = 0o2_000_000;
/// One read of a folder, in bytes.
const FOLDER_BUFFER: usize = 4096;

/// An open file, closed when dropped.
#[derive(Debug)]
pub struct File(usize);

impl File {
    /// Standard output: never closed, because it is not ours.
    #[must_use]
    pub fn standard_output() -> core::mem::ManuallyDrop<Self> {
        core::mem::ManuallyDrop::new(Self(1))
    }

    /// Standard error.
    #[must_use]
    pub fn standard_error() -> core::mem::ManuallyDrop<Self> {
        core::mem::ManuallyDrop::new(Self(2))
    }

    /// For reading.
    pub fn open(path: &CStr) -> Result<Self, Errno> {
        Self::open_with(path, 0)
    }

    /// For writing at the end of a file that is there already.
    pub fn append(path: &CStr) -> Result<Self, Errno> {
        Self::open_with(path, O_WRONLY | O_APPEND)
    }

    fn open_with(path: &CStr, flags: usize) -> Result<Self, Errno> {
        // SAFETY: the path is a C string.
        unsafe { call(number::OPENAT, [AT_FDCWD, path.as_ptr() as usize, flags | O_CLOEXEC, 0o755]) }.map(Self)
    }

    /// Fills what it can; 0 at the end.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        loop {
            // SAFETY: the kernel writes at most as many bytes as the buffer has.
            let result = unsafe { call(number::READ, [self.0, buffer.as_mut_ptr() as usize, buffer.len()]) };
            if result != Err(Errno::INTR) {
                return result.map(|count| count.min(buffer.len()));
            }
        }
    }

    /// All of it.
    pub fn write(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            // SAFETY: the kernel reads the bytes only.
            match unsafe { call(number::WRITE, [self.0, bytes.as_ptr() as usize, bytes.len()]) } {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            }
        }
        Ok(())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours, and this is its last use.
        let _ = unsafe { call(number::CLOSE, [self.0]) };
    }
}

/// A new file that must not be there yet.
pub fn create(path: &CStr) -> Result<File, Errno> {
    File::open_with(path, O_WRONLY | O_CREAT | O_EXCL)
}

/// Mode 0755 whatever the umask.
pub fn make_executable(file: &File) -> Result<(), Errno> {
    // SAFETY: no addresses.
    unsafe { call(number::FCHMOD, [file.0, 0o755]) }.map(drop)
}

/// Sets an extended attribute.
pub fn set_xattr(file: &File, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: a C string, and bytes that the kernel reads.
    unsafe {
        call(number::FSETXATTR, [file.0, name.as_ptr() as usize, value.as_ptr() as usize, value.len(), 0]).map(drop)
    }
}

/// Bytes of an extended attribute of what the path leads to.
pub fn xattr_size(path: &CStr, name: &CStr) -> Result<usize, Errno> {
    // SAFETY: C strings; with a size of 0 nothing is written.
    unsafe { call(number::GETXATTR, [path.as_ptr() as usize, name.as_ptr() as usize, 0, 0]) }
}

/// Puts a file in the place of another, at once.
pub fn rename(from: &CStr, to: &CStr) -> Result<(), Errno> {
    // SAFETY: C strings.
    unsafe { call(number::RENAMEAT, [AT_FDCWD, from.as_ptr() as usize, AT_FDCWD, to.as_ptr() as usize]) }.map(drop)
}

/// Removes a file.
pub fn unlink(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a C string.
    unsafe { call(number::UNLINKAT, [AT_FDCWD, path.as_ptr() as usize, 0]) }.map(drop)
}

/// Whether this process may execute a file; folders pass too.
pub fn exists_executable(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a C string.
    unsafe { call(number::FACCESSAT, [AT_FDCWD, path.as_ptr() as usize, 1]) }.map(drop)
}

/// What a symbolic link says.
pub fn read_link<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let arguments = [AT_FDCWD, path.as_ptr() as usize, buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: a C string, and the kernel writes at most as many bytes as the buffer has.
    let count = unsafe { call(number::READLINKAT, arguments) }?;
    Ok(buffer.get(..count).unwrap_or_default())
}

/// Two ends: what is written into the second comes out of the first.
pub fn pipe() -> Result<(File, File), Errno> {
    let mut ends = [0_i32; 2];
    // SAFETY: the kernel writes two descriptors.
    unsafe { call(number::PIPE2, [ends.as_mut_ptr() as usize, O_CLOEXEC]) }?;
    let [from, to] = ends.map(|end| File(usize::try_from(end).unwrap_or_default()));
    Ok((from, to))
}

/// Calls `each` with the name of every entry of a folder.
pub fn entries(path: &CStr, mut each: impl FnMut(&CStr)) -> Result<(), Errno> {
    let folder = File::open(path)?;
    let mut buffer = [0_u8; FOLDER_BUFFER];
    loop {
        // SAFETY: the kernel writes at most as many bytes as the buffer has.
        let count = unsafe { call(number::GETDENTS64, [folder.0, buffer.as_mut_ptr() as usize, buffer.len()]) }?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = buffer.get(..count).unwrap_or_default();
        // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name.
        while let Some(&[low, high]) = rest.get(16..18) {
            let length = usize::from(u16::from_le_bytes([low, high]));
            let name = rest.get(19..length).and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok());
            name.into_iter().for_each(&mut each);
            rest = rest.get(length.max(19)..).unwrap_or_default();
        }
    }
}
