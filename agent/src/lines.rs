//! Files of `/proc` and `/sys`, read line by line.

use core::ffi::CStr;

use crate::sys::{Errno, File};

/// The longest line that is kept whole; `status`, `smaps`, `stat` and `limits` have none that is longer, but for paths.
const LONGEST: usize = 4096;

/// Calls `each` with every line, without its end. Of a longer one only the beginning is seen.
pub fn for_each(path: &CStr, each: impl FnMut(&[u8])) -> Result<(), Errno> {
    for_each_until(path, b'\n', each)
}

/// The same, where something else ends a line.
pub fn for_each_until(path: &CStr, end_of_line: u8, mut each: impl FnMut(&[u8])) -> Result<(), Errno> {
    let file = File::open(path)?;
    let mut buffer = [0_u8; LONGEST];
    let mut filled = 0;
    let mut skipping = false;
    loop {
        let count = file.read(buffer.get_mut(filled..).unwrap_or_default())?;
        let end = filled + count;
        let mut rest = buffer.get(..end).unwrap_or_default();
        while let Some(length) = rest.iter().position(|byte| *byte == end_of_line) {
            let (line, behind) = rest.split_at(length);
            if !skipping {
                each(line);
            }
            skipping = false;
            rest = behind.get(1..).unwrap_or_default();
        }
        let left = rest.len();
        if count == 0 || left == LONGEST {
            if left > 0 && !skipping {
                each(rest);
            }
            if count == 0 {
                return Ok(());
            }
            skipping = true;
            filled = 0;
        } else {
            buffer.copy_within(end - left..end, 0);
            filled = left;
        }
    }
}

/// The file, into `buffer`; what does not fit is cut off.
pub fn beginning<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let file = File::open(path)?;
    let count = file.read(buffer)?;
    Ok(buffer.get(..count).unwrap_or_default())
}

/// The first line, into `buffer`; what does not fit is cut off.
pub fn first<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    Ok(beginning(path, buffer)?.split(|byte| *byte == b'\n').next().unwrap_or_default())
}
