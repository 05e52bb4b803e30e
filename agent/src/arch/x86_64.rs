//! x86-64.
#![allow(unsafe_code, reason = "the instruction that enters the kernel")]

use core::arch::asm;

/// Numbers of the system calls (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub mod number {
    #![allow(missing_docs, reason = "each is the system call of that name")]
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const GETPID: usize = 39;
    pub const GETEUID: usize = 107;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const KILL: usize = 62;
    pub const WAIT4: usize = 61;
    pub const GETDENTS64: usize = 217;
    pub const FCHMOD: usize = 91;
    pub const PTRACE: usize = 101;
    pub const CAPGET: usize = 125;
    pub const CAPSET: usize = 126;
    pub const MLOCK: usize = 149;
    pub const MLOCKALL: usize = 151;
    pub const PRCTL: usize = 157;
    pub const GETXATTR: usize = 191;
    pub const FSETXATTR: usize = 190;
    pub const EXIT_GROUP: usize = 231;
    pub const WAITID: usize = 247;
    pub const OPENAT: usize = 257;
    pub const NEWFSTATAT: usize = 262;
    pub const UNLINKAT: usize = 263;
    pub const RENAMEAT: usize = 264;
    pub const READLINKAT: usize = 267;
    pub const FACCESSAT: usize = 269;
    pub const PIPE2: usize = 293;
    pub const PRLIMIT64: usize = 302;
    pub const MLOCK2: usize = 325;
    pub const SETITIMER: usize = 38;
}

/// `e_machine` of programs that this agent can trace (`EM_X86_64`).
pub const ELF_MACHINE: u16 = 62;

/// What the processor calls the kernel with: `syscall`.
pub const CALL: [u8; 2] = [0x0f, 0x05];
/// Instructions begin at multiples of so many bytes.
pub const ALIGNMENT: usize = 1;

/// Enters the kernel. The raw result: small negative numbers are errors.
///
/// # Safety
/// As the system call itself: every address must be good for what the kernel does with it.
#[inline]
#[must_use]
pub unsafe fn call(number: usize, arguments: [usize; 6]) -> isize {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    let result: isize;
    // SAFETY: the kernel changes rax, rcx and r11 only; memory is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") first, in("rsi") second, in("rdx") third, in("r10") fourth, in("r8") fifth, in("r9") sixth,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// The general registers of a stopped process (`struct user_regs_struct`, `NT_PRSTATUS`).
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Registers {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    rbp: u64,
    rbx: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rax: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    orig_rax: u64,
    rip: u64,
    cs: u64,
    eflags: u64,
    rsp: u64,
    ss: u64,
    fs_base: u64,
    gs_base: u64,
    ds: u64,
    es: u64,
    fs: u64,
    gs: u64,
}

impl Registers {
    /// The same registers about to make a system call with the instruction at `instruction`.
    ///
    /// No call is in progress (`orig_rax` is -1), so that the kernel restarts none of its own.
    #[must_use]
    pub fn calling(self, instruction: u64, number: usize, [a, b, c, d]: [u64; 4]) -> Self {
        Self {
            rip: instruction,
            rax: number as u64,
            orig_rax: u64::MAX,
            rdi: a,
            rsi: b,
            rdx: c,
            r10: d,
            r8: 0,
            r9: 0,
            ..self
        }
    }

    /// The same registers, which go on at `instruction` when the call in progress is done.
    #[must_use]
    pub fn continuing_at(self, instruction: u64) -> Self {
        Self { rip: instruction, ..self }
    }

    /// Address of the next instruction.
    #[must_use]
    pub fn instruction(&self) -> u64 {
        self.rip
    }

    /// Top of the stack.
    #[must_use]
    pub fn stack(&self) -> u64 {
        self.rsp
    }

    /// What a finished system call gave.
    #[must_use]
    pub fn result(&self) -> i64 {
        self.rax.cast_signed()
    }
}

// What the compiler calls for copies and comparisons: see the folder's header.
#[cfg(freestanding)]
core::arch::global_asm!(
    ".macro memlock_function name",
    ".globl \\name",
    ".hidden \\name",
    ".type \\name, @function",
    "\\name:",
    ".endm",
    ".text",
    "memlock_function memcpy",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    "memlock_function memmove",
    "mov rax, rdi",
    "mov rcx, rdx",
    "mov r8, rdi",
    "sub r8, rsi",
    "cmp r8, rdx",
    "jb 2f",
    "rep movsb",
    "ret",
    // The target begins inside the source: from the end backwards.
    "2: lea rdi, [rdi + rdx - 1]",
    "lea rsi, [rsi + rdx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    "memlock_function memset",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    "memlock_function bcmp",
    "memlock_function memcmp",
    "xor eax, eax",
    "xor ecx, ecx",
    "3: cmp rcx, rdx",
    "je 4f",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx r8d, byte ptr [rsi + rcx]",
    "inc rcx",
    "sub eax, r8d",
    "je 3b",
    "4: ret",
    "memlock_function strlen",
    "xor eax, eax",
    "5: cmp byte ptr [rdi + rax], 0",
    "je 6f",
    "inc rax",
    "jmp 5b",
    "6: ret",
    ".purgem memlock_function",
);

/// Makes `_start`, the first instruction of a program without a C library: it calls `main(argc, argv, envp)` and ends with what it gives.
#[macro_export]
macro_rules! entry_point {
    () => {
        core::arch::global_asm!(
            ".globl _start",
            ".type _start, @function",
            "_start:",
            "xor ebp, ebp",
            "mov rdi, [rsp]",
            "lea rsi, [rsp + 8]",
            "lea rdx, [rsi + rdi * 8 + 8]",
            "and rsp, -16",
            "call main",
            "mov edi, eax",
            "mov eax, 231",
            "syscall",
            "ud2",
        );
    };
}
