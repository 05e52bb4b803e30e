//! Another process under ptrace.
#![allow(unsafe_code, reason = "system calls on structures of this module")]

use core::{mem, ptr};

use super::{
    Errno, Pid, call,
    process::{Wait, pid_argument, wait},
};
use crate::arch::{Registers, number};

const PEEKDATA: usize = 2;
const SYSCALL: usize = 24;
const SETOPTIONS: usize = 0x4200;
const GETREGSET: usize = 0x4204;
const SETREGSET: usize = 0x4205;
const SEIZE: usize = 0x4206;
const LISTEN: usize = 0x4208;
const NT_PRSTATUS: usize = 1;

const TRACE_SYSTEM_GOOD: usize = 1;
const TRACE_EXEC: usize = 0x10;
const EXIT_KILL: usize = 0x10_0000;

const EVENT_EXEC: u32 = 4;
const EVENT_STOP: u32 = 128;
const SIGTRAP: u32 = 5;

/// A process that this one traces. When this one ends, it goes on by itself.
#[derive(Debug)]
pub struct Tracee(Pid);

/// Where a tracee stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It has ended.
    Gone,
    /// It became another program; the call itself is not finished yet.
    Executed,
    /// At the beginning or end of a system call.
    Call,
}

impl Tracee {
    /// Traces a running process without stopping it. With `kill`, it does not survive the tracer.
    pub fn seize(pid: Pid, kill: bool) -> Result<Self, Errno> {
        let tracee = Self(pid);
        tracee.request(SEIZE, 0, options(kill))?;
        Ok(tracee)
    }

    /// From now on it survives the tracer.
    pub fn spare(&self) -> Result<(), Errno> {
        self.request(SETOPTIONS, 0, options(false))
    }

    /// Lets it go on to the next beginning or end of a system call.
    pub fn step(&self) -> Result<Stop, Errno> {
        self.request(SYSCALL, 0, 0)?;
        self.wait()
    }

    /// Waits for the next stop that means something; signals on the way are the tracee's and are handed on.
    pub fn wait(&self) -> Result<Stop, Errno> {
        loop {
            let (signal, event) = match wait(self.0)? {
                Wait::Gone => return Ok(Stop::Gone),
                Wait::Stopped { signal, event } => (signal, event),
            };
            match (signal, event) {
                (_, EVENT_EXEC) => return Ok(Stop::Executed),
                // SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU have stopped it: it stays so until SIGCONT.
                (19..=22, EVENT_STOP) => self.request(LISTEN, 0, 0)?,
                (_, 0) if signal == SIGTRAP | 0x80 => return Ok(Stop::Call),
                (_, 0) => self.request(SYSCALL, 0, signal as usize)?,
                _ => self.request(SYSCALL, 0, 0)?,
            }
        }
    }

    /// Its registers; EINVAL when it is a program of another word size.
    pub fn registers(&self) -> Result<Registers, Errno> {
        let mut registers = Registers::default();
        let mut vector = [ptr::from_mut(&mut registers) as usize, mem::size_of::<Registers>()];
        self.request(GETREGSET, NT_PRSTATUS, vector.as_mut_ptr() as usize)?;
        let [_, filled] = vector;
        if filled == mem::size_of::<Registers>() { Ok(registers) } else { Err(Errno::INVAL) }
    }

    /// Replaces them.
    pub fn set_registers(&self, registers: &Registers) -> Result<(), Errno> {
        let vector = [ptr::from_ref(registers) as usize, mem::size_of::<Registers>()];
        self.request(SETREGSET, NT_PRSTATUS, vector.as_ptr() as usize)
    }

    /// One word of its memory.
    pub fn peek(&self, address: u64) -> Result<u64, Errno> {
        let mut word = 0_u64;
        let address = usize::try_from(address).map_err(|_| Errno::INVAL)?;
        self.request(PEEKDATA, address, ptr::from_mut(&mut word) as usize)?;
        Ok(word)
    }

    fn request(&self, request: usize, address: usize, data: usize) -> Result<(), Errno> {
        // SAFETY: what the addresses in `data` lead to lives until the call is done and has the size that is said.
        unsafe { call(number::PTRACE, [request, pid_argument(self.0), address, data]) }.map(drop)
    }
}

fn options(kill: bool) -> usize {
    TRACE_SYSTEM_GOOD | TRACE_EXEC | if kill { EXIT_KILL } else { 0 }
}
