//! Text without a heap: buffers of fixed size, numbers, lines.

use core::{ffi::CStr, fmt};

/// Up to `N` bytes, of which one is kept for the zero that ends a C string. What does not fit is cut off, and it is
/// known that it was.
#[derive(Debug)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
    cut: bool,
}

/// A path of a file.
pub type Path = Text<4096>;
/// A sentence for people: what fits into a termination message (4,096 bytes, all containers together 12,288).
pub type Sentence = Text<2048>;

impl<const N: usize> Text<N> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; N], length: 0, cut: false }
    }

    /// What was written.
    #[must_use]
    pub fn of(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self::new();
        let _ = fmt::Write::write_fmt(&mut text, arguments);
        text
    }

    /// More of it.
    pub fn push(&mut self, more: &[u8]) {
        let room = self.bytes.get_mut(self.length..N.saturating_sub(1)).unwrap_or_default();
        let fits = more.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..fits), more.get(..fits)) {
            to.copy_from_slice(from);
        }
        self.length += fits;
        self.cut |= fits < more.len();
    }

    /// Nothing again.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// As a C string; `None` when something was cut off.
    #[must_use]
    pub fn c_str(&self) -> Option<&CStr> {
        if self.cut {
            return None;
        }
        CStr::from_bytes_with_nul(self.bytes.get(..=self.length)?).ok()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        self.push(more.as_bytes());
        Ok(())
    }
}

/// Bytes as text in which every byte that is no printable ASCII is a question mark: names come from outside.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take(256) {
            fmt::Write::write_char(f, if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' })?;
        }
        Ok(())
    }
}

/// A decimal number and nothing else.
#[must_use]
pub fn decimal(text: &[u8]) -> Option<u64> {
    number(text, 10)
}

/// A hexadecimal number and nothing else.
#[must_use]
pub fn hexadecimal(text: &[u8]) -> Option<u64> {
    number(text, 16)
}

fn number(text: &[u8], base: u32) -> Option<u64> {
    if text.is_empty() || text.first() == Some(&b'+') {
        return None;
    }
    u64::from_str_radix(core::str::from_utf8(text).ok()?, base).ok()
}

/// The words of a line, between blanks.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t' | b'\n')).filter(|word| !word.is_empty())
}
