//! AArch64, little endian.
#![allow(unsafe_code, reason = "the instruction that enters the kernel")]

use core::arch::asm;

/// Numbers of the system calls (`include/uapi/asm-generic/unistd.h`).
pub mod number {
    #![allow(missing_docs, reason = "each is the system call of that name")]
    pub const GETXATTR: usize = 8;
    pub const FSETXATTR: usize = 7;
    pub const UNLINKAT: usize = 35;
    pub const RENAMEAT: usize = 38;
    pub const FACCESSAT: usize = 48;
    pub const FCHMOD: usize = 52;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const PIPE2: usize = 59;
    pub const GETDENTS64: usize = 61;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const READLINKAT: usize = 78;
    pub const NEWFSTATAT: usize = 79;
    pub const CAPGET: usize = 90;
    pub const CAPSET: usize = 91;
    pub const EXIT_GROUP: usize = 94;
    pub const WAITID: usize = 95;
    pub const SETITIMER: usize = 103;
    pub const PTRACE: usize = 117;
    pub const KILL: usize = 129;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const PRCTL: usize = 167;
    pub const GETPID: usize = 172;
    pub const GETEUID: usize = 175;
    pub const MUNMAP: usize = 215;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
    pub const MLOCK: usize = 228;
    pub const MLOCKALL: usize = 230;
    pub const WAIT4: usize = 260;
    pub const PRLIMIT64: usize = 261;
    pub const MLOCK2: usize = 284;
}

/// `e_machine` of programs that this agent can trace (`EM_AARCH64`).
pub const ELF_MACHINE: u16 = 183;

/// What the processor calls the kernel with: `svc #0`.
pub const CALL: [u8; 4] = [0x01, 0x00, 0x00, 0xd4];
/// Instructions begin at multiples of so many bytes.
pub const ALIGNMENT: usize = 4;

/// Enters the kernel. The raw result: small negative numbers are errors.
///
/// # Safety
/// As the system call itself: every address must be good for what the kernel does with it.
#[inline]
#[must_use]
pub unsafe fn call(number: usize, arguments: [usize; 6]) -> isize {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    let result: isize;
    // SAFETY: the kernel changes x0 only; memory is the caller's promise.
    unsafe {
        asm!(
            "svc #0",
            inlateout("x0") first => result,
            in("x1") second, in("x2") third, in("x3") fourth, in("x4") fifth, in("x5") sixth, in("x8") number,
            options(nostack),
        );
    }
    result
}

/// The general registers of a stopped process (`struct user_pt_regs`, `NT_PRSTATUS`).
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Registers {
    x0: u64,
    x1: u64,
    x2: u64,
    x3: u64,
    x4_to_x7: [u64; 4],
    x8: u64,
    x9_to_x30: [u64; 22],
    sp: u64,
    pc: u64,
    pstate: u64,
}

impl Registers {
    /// The same registers about to make a system call with the instruction at `instruction`.
    ///
    /// Where the process stands at the end of a call, the kernel restarts that one only if `x0` holds one of its own
    /// errors (`do_signal()` in `arch/arm64/kernel/signal.c`), which no argument here does.
    #[must_use]
    pub fn calling(self, instruction: u64, number: usize, [a, b, c, d]: [u64; 4]) -> Self {
        Self { pc: instruction, x0: a, x1: b, x2: c, x3: d, x8: number as u64, ..self }
    }

    /// The same registers, which go on at `instruction` when the call in progress is done.
    #[must_use]
    pub fn continuing_at(self, instruction: u64) -> Self {
        Self { pc: instruction, ..self }
    }

    /// Address of the next instruction.
    #[must_use]
    pub fn instruction(&self) -> u64 {
        self.pc
    }

    /// Top of the stack.
    #[must_use]
    pub fn stack(&self) -> u64 {
        self.sp
    }

    /// What a finished system call gave.
    #[must_use]
    pub fn result(&self) -> i64 {
        self.x0.cast_signed()
    }
}

// What the compiler calls for copies and comparisons: see the folder's header.
#[cfg(freestanding)]
core::arch::global_asm!(
    ".macro memlock_function name",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, %function",
    "\\name:",
    ".endm",
    ".text",
    "memlock_function memmove",
    "sub x4, x0, x1",
    "cmp x4, x2",
    "b.lo 3f",
    "memlock_function memcpy",
    "mov x3, x0",
    "cbz x2, 2f",
    "1: ldrb w4, [x1], #1",
    "strb w4, [x3], #1",
    "subs x2, x2, #1",
    "b.ne 1b",
    "2: ret",
    // The target begins inside the source: from the end backwards.
    "3: add x3, x0, x2",
    "add x1, x1, x2",
    "4: ldrb w4, [x1, #-1]!",
    "strb w4, [x3, #-1]!",
    "subs x2, x2, #1",
    "b.ne 4b",
    "ret",
    "memlock_function memset",
    "mov x3, x0",
    "cbz x2, 6f",
    "5: strb w1, [x3], #1",
    "subs x2, x2, #1",
    "b.ne 5b",
    "6: ret",
    "memlock_function bcmp",
    "memlock_function memcmp",
    "mov x3, x0",
    "mov w0, #0",
    "7: cbz x2, 8f",
    "ldrb w4, [x3], #1",
    "ldrb w5, [x1], #1",
    "sub x2, x2, #1",
    "subs w0, w4, w5",
    "b.eq 7b",
    "8: ret",
    "memlock_function strlen",
    "mov x1, x0",
    "9: ldrb w2, [x1], #1",
    "cbnz w2, 9b",
    "sub x0, x1, x0",
    "sub x0, x0, #1",
    "ret",
    ".purgem memlock_function",
);

/// Makes `_start`, the first instruction of a program without a C library: it calls `main(argc, argv, envp)` and ends with what it gives.
#[macro_export]
macro_rules! entry_point {
    () => {
        core::arch::global_asm!(
            ".globl _start",
            ".type _start, %function",
            "_start:",
            "mov x29, #0",
            "mov x30, #0",
            "ldr x0, [sp]",
            "add x1, sp, #8",
            "add x2, x1, x0, lsl #3",
            "add x2, x2, #8",
            "bl main",
            "mov x8, #94",
            "svc #0",
            "brk #0",
        );
    };
}
