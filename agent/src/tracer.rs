//! Locks another program from the outside, at the moment when it has just been loaded.
//!
//! A helper traces this process over its exec and makes the new program call `mlockall` before its first instruction.
//! No byte of the program is written: the call is made with an instruction in the kernel's own pages, the
//! vDSO, which are the same in every process. The last call that is put in is `waitid` for the helper, which by then has
//! ended: PID 1 stays the daemon and has no child that it does not know.

use core::fmt;

use crate::{
    arch::{self, Registers, number},
    arguments::Conditions,
    launch::CANNOT_LOCK,
    populate::{self, Shortage},
    say::{last_words, say},
    start::Start,
    sys::{self, Errno, File, Forked, Pid, Stop, Tracee},
    text::{Printable, Sentence},
};

/// The helper traces this process.
const READY: u8 = 1;

/// Starts the helper and waits until it traces this process.
pub fn start(start: &Start, conditions: &Conditions<'_>, flags: usize) -> Result<(), Errno> {
    let vdso = start.vdso().unwrap_or_default();
    let mut places = vdso.windows(arch::CALL.len()).enumerate().step_by(arch::ALIGNMENT);
    let (offset, _) = places.find(|(_, bytes)| *bytes == arch::CALL).ok_or(Errno::NOENT)?;
    let (permitted, permit) = sys::pipe()?;
    let (answered, answer) = sys::pipe()?;
    let daemon = sys::own_pid();
    sys::set_dumpable()?;
    match sys::fork()? {
        Forked::Child => {
            drop((permit, answered));
            let helper = Helper { conditions, daemon, flags, offset: offset as u64 };
            helper.run(&permitted, &answer);
            sys::exit(0)
        }
        Forked::Parent(pid) => {
            drop((permitted, answer));
            // Without Yama this option does not exist, and is not needed.
            let _ = sys::set_tracer(pid);
            let mut word = [0; 2];
            let told = permit.write(&[READY]).and_then(|()| answered.read(&mut word));
            match (told, word) {
                (Ok(2), [READY, _]) => Ok(()),
                (told, [_, error]) => {
                    let _ = sys::wait(pid);
                    Err(told.err().unwrap_or(Errno(i32::from(error))))
                }
            }
        }
    }
}

struct Helper<'a> {
    conditions: &'a Conditions<'a>,
    daemon: Pid,
    flags: usize,
    /// Of an instruction in the vDSO that enters the kernel.
    offset: u64,
}

/// Why the new program is not locked.
#[derive(Debug)]
enum Failure {
    /// It has ended, and nobody waits for an answer.
    Gone,
    /// It would be killed for it.
    Memory(Shortage),
    /// `mlockall` said so.
    Lock(Errno),
    /// The tracing itself.
    Trace(Errno),
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Trace(error)
    }
}

/// The new program before its first instruction.
struct Loaded {
    registers: Registers,
    /// Address of an instruction that enters the kernel.
    call: u64,
}

impl Helper<'_> {
    fn run(&self, permitted: &File, answer: &File) {
        sys::name_self(c"memlock-tracer");
        // A signal to the whole group is the daemon's: ours is only to hand it on.
        sys::block_signals();
        let mut word = [0];
        if permitted.read(&mut word) != Ok(1) {
            return;
        }
        let tracee = match Tracee::seize(self.daemon, self.conditions.required) {
            Ok(tracee) => tracee,
            Err(error) => {
                let _ = answer.write(&[0, u8::try_from(error.0).unwrap_or(u8::MAX)]);
                return;
            }
        };
        if answer.write(&[READY, 0]).is_err() {
            return;
        }
        match self.lock(&tracee) {
            Err(Failure::Gone) => {}
            Ok(loaded) => {
                let _ = leave(&tracee, &loaded);
            }
            Err(failure) => self.give_up(&tracee, &failure),
        }
    }

    fn lock(&self, tracee: &Tracee) -> Result<Loaded, Failure> {
        let mut stop = tracee.wait()?;
        while stop == Stop::Call {
            stop = tracee.step()?;
        }
        if stop == Stop::Gone {
            return Err(Failure::Gone);
        }
        // The end of execve writes the registers: what is set before is lost.
        self::step(tracee)?;
        let loaded = self.loaded(tracee)?;
        if let Some(shortage) = populate::shortage(self.daemon, self.flags) {
            return Err(Failure::Memory(shortage));
        }
        match call_in(tracee, &loaded, number::MLOCKALL, [self.flags as u64, 0, 0, 0])? {
            0 => Ok(loaded),
            error => {
                tracee.set_registers(&loaded.registers)?;
                Err(Failure::Lock(Errno(i32::try_from(-error).unwrap_or_default())))
            }
        }
    }

    /// Finds the vDSO of the new program by the auxiliary vector on its stack.
    fn loaded(&self, tracee: &Tracee) -> Result<Loaded, Failure> {
        const AT_NULL: u64 = 0;
        const AT_SYSINFO_EHDR: u64 = 33;
        let registers = tracee.registers()?;
        let mut at = registers.stack();
        let mut next = || {
            let word = tracee.peek(at);
            at = at.wrapping_add(8);
            word
        };
        // argc and argv, then envp: two lists that end with null.
        let _count = next()?;
        while next()? != 0 {}
        while next()? != 0 {}
        loop {
            match (next()?, next()?) {
                (AT_NULL, _) => return Err(Failure::Trace(Errno::NOENT)),
                (AT_SYSINFO_EHDR, base) => return Ok(Loaded { registers, call: base.wrapping_add(self.offset) }),
                _ => {}
            }
        }
    }

    /// Required: the program ends before its first instruction. Else it runs without the lock.
    fn give_up(&self, tracee: &Tracee, failure: &Failure) {
        let container = Printable(self.conditions.container.to_bytes());
        let sentence = Sentence::of(format_args!("container {container} could not be locked by the agent: {failure}"));
        let loaded = self.loaded(tracee);
        if self.conditions.required {
            last_words(self.conditions.termination_log, &sentence);
            // Where this cannot be done, it dies with the helper (PTRACE_O_EXITKILL).
            if let Ok(loaded) = loaded {
                let _ = call_in(tracee, &loaded, number::EXIT_GROUP, [CANNOT_LOCK as u64, 0, 0, 0]);
            }
        } else {
            let text = core::str::from_utf8(sentence.bytes()).unwrap_or_default();
            say(format_args!("{text}; it runs all the same (memlock.dev/required: false)"));
            if let Ok(loaded) = loaded {
                let _ = leave(tracee, &loaded);
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it has ended"),
            Self::Memory(shortage) => write!(f, "{shortage}"),
            Self::Lock(error @ (Errno::NOMEM | Errno(11))) => write!(
                f,
                "mlockall gave {error}: its address space is larger than its memlock limit, and IPC_LOCK is not effective for it; grant the capability (memlock.dev/capability: grant), or raise the limit"
            ),
            Self::Lock(error) => write!(
                f,
                "mlockall gave {error}: a seccomp profile or a security module forbids it; allow mlockall there"
            ),
            Self::Trace(error) => write!(
                f,
                "its new program could not be traced ({error}); let the daemon lock itself (memlock.dev/lock-by: daemon)"
            ),
        }
    }
}

fn step(tracee: &Tracee) -> Result<(), Failure> {
    match tracee.step()? {
        Stop::Call => Ok(()),
        Stop::Gone => Err(Failure::Gone),
        Stop::Executed => Err(Failure::Trace(Errno::INVAL)),
    }
}

/// Makes the tracee call the kernel, and gives what came of it.
fn call_in(tracee: &Tracee, loaded: &Loaded, number: usize, arguments: [u64; 4]) -> Result<i64, Failure> {
    tracee.set_registers(&loaded.registers.calling(loaded.call, number, arguments))?;
    step(tracee)?;
    step(tracee)?;
    Ok(tracee.registers()?.result())
}

/// Lets the tracee go so that it reaps this process and then runs its first instruction.
///
/// It stands at the beginning of its `waitid` when this process ends. The kernel lets the tracees of a process go and
/// makes it a zombie under one lock (`exit_notify()`), so the call finds it and need not block.
fn leave(tracee: &Tracee, loaded: &Loaded) -> Result<(), Failure> {
    let arguments = sys::wait_no_zombie(sys::own_pid());
    tracee.set_registers(&loaded.registers.calling(loaded.call, number::WAITID, arguments))?;
    step(tracee)?;
    tracee.set_registers(&tracee.registers()?.continuing_at(loaded.registers.instruction()))?;
    tracee.spare()?;
    Ok(())
}
