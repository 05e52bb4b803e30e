//! The command line.

use core::ffi::CStr;

use crate::{
    say::TERMINATION_LOG,
    start::Vector,
    sys::{MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT},
    text,
};

/// What is shown for `--help`.
pub const HELP: &str = "\
memlock VERSION: makes a container able to lock its memory, and shows what is locked

  memlock install [--launcher lock|flush]... FOLDER
  memlock preflight --container NAME --required true|false --size BYTES|unlimited [--termination-log FILE]
  memlock launch --container NAME --required true|false --size BYTES|unlimited [--lock FLAGS] [--io-flusher]
                 [--termination-log FILE] -- PROGRAM [ARGUMENT...]
  memlock probe
  memlock --help | --version

FLAGS is current,future or current,future,onfault. Exit codes: 78 a required lock cannot work, 64 wrong usage,
127 or 126 the program cannot be executed, 1 anything else.
";

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub enum Command {
    /// Copy the agent into a folder.
    Install(Install),
    /// Tell whether memory can be locked here.
    Preflight(Conditions<'static>),
    /// Become another program, able to lock.
    Launch(Launch),
    /// Show what is locked.
    Probe,
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// `install`.
#[derive(Debug, Clone, Copy)]
pub struct Install {
    /// A copy `memlock-lock` with the file capability `cap_ipc_lock=ep`.
    pub lock: bool,
    /// A copy `memlock-flush` with `cap_ipc_lock,cap_sys_resource=ep`.
    pub flush: bool,
    /// Where to.
    pub folder: &'static CStr,
}

/// What is wanted of the container.
#[derive(Debug, Clone, Copy)]
pub struct Conditions<'a> {
    /// The container's name, for the sentences.
    pub container: &'a CStr,
    /// A lock that cannot work stops the container.
    pub required: bool,
    /// Address space to be locked, in bytes; `None`: without limit.
    pub size: Option<u64>,
    /// Where last words go.
    pub termination_log: &'a CStr,
}

/// `launch`.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    /// What is wanted.
    pub conditions: Conditions<'static>,
    /// Flags of `mlockall` for the program, when the agent is to lock it.
    pub lock: Option<usize>,
    /// Also `PR_SET_IO_FLUSHER`.
    pub io_flusher: bool,
    /// The program and its arguments; never empty.
    pub program: Vector,
}

/// What is wrong with the command line, as a sentence.
pub type Usage = &'static str;

/// Reads what stands behind the agent's own name.
pub fn parse(arguments: Vector) -> Result<Command, Usage> {
    let (verb, rest) = arguments.split_first().ok_or("say what to do: install, preflight, launch or probe")?;
    match verb.to_bytes() {
        b"install" => install(rest),
        b"preflight" => match conditions(rest, false)? {
            Parsed { program: None, conditions, .. } => Ok(Command::Preflight(conditions)),
            Parsed { .. } => Err("preflight takes no program"),
        },
        b"launch" => {
            let Parsed { conditions, lock, io_flusher, program } = conditions(rest, true)?;
            let program = program.ok_or("launch needs -- and the program to start")?;
            Ok(Command::Launch(Launch { conditions, lock, io_flusher, program }))
        }
        b"probe" if rest.split_first().is_none() => Ok(Command::Probe),
        b"probe" => Err("probe takes no arguments"),
        b"--help" | b"-h" => Ok(Command::Help),
        b"--version" => Ok(Command::Version),
        _ => Err("the first argument must be install, preflight, launch or probe"),
    }
}

fn install(arguments: Vector) -> Result<Command, Usage> {
    let (mut lock, mut flush) = (false, false);
    let mut folder = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.to_bytes() {
            b"--launcher" => match rest.next().map(CStr::to_bytes) {
                Some(b"lock") => lock = true,
                Some(b"flush") => flush = true,
                _ => return Err("--launcher is lock or flush"),
            },
            [b'-', ..] => return Err("install knows the option --launcher only"),
            _ if folder.is_some() => return Err("install takes one folder"),
            _ => folder = Some(argument),
        }
    }
    Ok(Command::Install(Install { lock, flush, folder: folder.ok_or("install needs a folder")? }))
}

struct Parsed {
    conditions: Conditions<'static>,
    lock: Option<usize>,
    io_flusher: bool,
    program: Option<Vector>,
}

fn conditions(arguments: Vector, launching: bool) -> Result<Parsed, Usage> {
    let (mut container, mut required, mut size, mut log) = (None, None, None, None);
    let (mut lock, mut io_flusher, mut program) = (None, false, None);
    let mut rest = arguments;
    let value = |rest: &mut Vector| {
        let (value, behind) = rest.split_first().ok_or("an option has no value")?;
        *rest = behind;
        Ok::<_, Usage>(value)
    };
    while let Some((argument, behind)) = rest.split_first() {
        rest = behind;
        match argument.to_bytes() {
            b"--container" => container = Some(value(&mut rest)?),
            b"--required" => {
                required = Some(match value(&mut rest)?.to_bytes() {
                    b"true" => true,
                    b"false" => false,
                    _ => return Err("--required is true or false"),
                });
            }
            b"--size" => {
                size = Some(match value(&mut rest)?.to_bytes() {
                    b"unlimited" => None,
                    bytes => Some(text::decimal(bytes).ok_or("--size is a number of bytes or unlimited")?),
                });
            }
            b"--termination-log" => log = Some(value(&mut rest)?),
            b"--lock" if launching => lock = Some(flags(value(&mut rest)?.to_bytes())?),
            b"--io-flusher" if launching => io_flusher = true,
            b"--" if rest.split_first().is_some() => {
                program = Some(rest);
                break;
            }
            b"--" => return Err("no program stands behind --"),
            _ => return Err("an option is not known: see --help"),
        }
    }
    let conditions = Conditions {
        container: container.ok_or("--container NAME is missing")?,
        required: required.ok_or("--required true|false is missing")?,
        size: size.ok_or("--size BYTES|unlimited is missing")?,
        termination_log: log.unwrap_or(TERMINATION_LOG),
    };
    Ok(Parsed { conditions, lock, io_flusher, program })
}

/// Flags of `mlockall`: comma separated words, of which `current` and `future` must be there.
pub fn flags(words: &[u8]) -> Result<usize, Usage> {
    let mut flags = 0;
    for word in words.split(|byte| *byte == b',') {
        flags |= match word {
            b"current" => MCL_CURRENT,
            b"future" => MCL_FUTURE,
            b"onfault" => MCL_ONFAULT,
            _ => return Err("flags of the lock are current,future or current,future,onfault"),
        };
    }
    if flags & (MCL_CURRENT | MCL_FUTURE) == MCL_CURRENT | MCL_FUTURE {
        Ok(flags)
    } else {
        Err("flags of the lock are current,future or current,future,onfault")
    }
}
