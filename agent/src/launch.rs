//! `launch`: becomes the daemon, which can then lock its memory, or is locked already.

use crate::{
    arguments::{Conditions, Launch},
    lines, preflight,
    program::{self, Kind},
    say::{last_words, say},
    start::Start,
    sys::{self, Capabilities, Errno},
    text::{Printable, Sentence, decimal},
    tracer,
};

/// Exit code where a required lock cannot work (`EX_CONFIG`).
pub const CANNOT_LOCK: i32 = 78;
/// As a shell's, where the program is there and cannot be executed.
const NOT_EXECUTABLE: i32 = 126;
/// As a shell's, where it is not there.
const NOT_FOUND: i32 = 127;

/// Does it. Returns an exit code when the program could not be started or must not be.
#[must_use]
pub fn launch(start: &Start, wanted: &Launch) -> i32 {
    let Some((name, _)) = wanted.program.split_first() else { return NOT_FOUND };
    let conditions = &wanted.conditions;
    if let Err(sentence) = prepare(start, wanted) {
        if conditions.required {
            last_words(conditions.termination_log, &sentence);
            return CANNOT_LOCK;
        }
        let text = core::str::from_utf8(sentence.bytes()).unwrap_or_default();
        say(format_args!("{text}; it is started all the same (memlock.dev/required: false)"));
    }
    let error = program::execute(name, wanted.program, start);
    let sentence = Sentence::of(format_args!(
        "container {} cannot start its program {}: {error}; correct the container's command",
        Printable(conditions.container.to_bytes()),
        Printable(name.to_bytes()),
    ));
    last_words(conditions.termination_log, &sentence);
    if error == Errno::NOENT { NOT_FOUND } else { NOT_EXECUTABLE }
}

/// Everything before the exec; an error is a sentence.
fn prepare(start: &Start, wanted: &Launch) -> Result<(), Sentence> {
    let conditions = &wanted.conditions;
    preflight::measure(conditions.size).map_err(|cause| preflight::failure(conditions, cause))?;
    keep_capabilities(wanted)?;
    if wanted.io_flusher {
        sys::set_io_flusher().map_err(|error| {
            failure(conditions, format_args!("cannot be marked as an I/O flusher ({error}): this needs an effective SYS_RESOURCE outside of any user namespace, and the launcher memlock-flush; add the capability, or remove memlock.dev/io-flusher"))
        })?;
    }
    let Some((name, _)) = wanted.program.split_first() else { return Ok(()) };
    let looked = program::look(name, start.environment);
    if let Some((_, true)) = looked {
        let lost =
            if wanted.lock.is_some() { "loses those that the launcher lacks" } else { "does not keep the launcher's" };
        say(format_args!(
            "container {}: its program {} carries file capabilities of its own, and {lost}; remove them with setcap -r, or leave the launcher out (memlock.dev/capability: image)",
            Printable(conditions.container.to_bytes()),
            Printable(name.to_bytes()),
        ));
    }
    match (wanted.lock, looked) {
        // What is not there cannot be locked; the exec will say so.
        (None, _) | (_, None) => Ok(()),
        (Some(_), Some((Kind::Foreign, _))) => Err(failure(
            conditions,
            format_args!(
                "cannot be locked by the agent: its program {} is not a 64-bit program for this processor; let the daemon lock itself (memlock.dev/lock-by: daemon)",
                Printable(name.to_bytes())
            ),
        )),
        (Some(_), Some((Kind::Unreadable, _))) => Err(failure(
            conditions,
            format_args!(
                "cannot be locked by the agent: uid {} may not read its program {}, and nobody may trace such a program; make it readable in the image (chmod a+r)",
                sys::own_uid(),
                Printable(name.to_bytes())
            ),
        )),
        (Some(flags), Some((Kind::Traceable, _))) => {
            check_yama(conditions)?;
            tracer::start(start, conditions, flags).map_err(|error| failure(conditions, format_args!(
                "cannot be locked by the agent: it could not be traced ({error}); allow ptrace in the seccomp profile, as RuntimeDefault does, or let the daemon lock itself (memlock.dev/lock-by: daemon)"
            )))
        }
    }
}

fn failure(conditions: &Conditions<'_>, what: core::fmt::Arguments<'_>) -> Sentence {
    Sentence::of(format_args!("container {} {what}", Printable(conditions.container.to_bytes())))
}

/// Inheritable and ambient: what the next program keeps although its file carries nothing. What is not permitted is not
/// missed here: then the limit is what makes locking possible.
fn keep_capabilities(wanted: &Launch) -> Result<(), Sentence> {
    let mut kept = 1_u64 << sys::IPC_LOCK;
    if wanted.io_flusher {
        kept |= 1 << sys::SYS_RESOURCE;
    }
    let raised = Capabilities::own().and_then(|own| {
        kept &= own.permitted;
        Capabilities { inheritable: own.inheritable | kept, ..own }.apply()?;
        [sys::IPC_LOCK, sys::SYS_RESOURCE]
            .into_iter()
            .filter(|bit| kept >> bit & 1 == 1)
            .try_for_each(sys::raise_ambient)
    });
    match raised {
        // Root gets its capabilities back at every exec.
        Err(error) if sys::own_uid() != 0 => Err(failure(
            &wanted.conditions,
            format_args!(
                "cannot keep IPC_LOCK for its program ({error}): the ambient set is closed; see whether the runtime sets securebits"
            ),
        )),
        _ => Ok(()),
    }
}

/// What Yama forbids is told before it fails (Documentation/admin-guide/LSM/Yama.rst).
fn check_yama(conditions: &Conditions<'_>) -> Result<(), Sentence> {
    let mut buffer = [0; 16];
    let scope = lines::first(c"/proc/sys/kernel/yama/ptrace_scope", &mut buffer).ok().and_then(decimal);
    let may_trace = Capabilities::own().is_ok_and(|own| own.effective >> sys::SYS_PTRACE & 1 == 1);
    match scope {
        Some(2) if !may_trace => Err(failure(
            conditions,
            format_args!(
                "cannot be locked by the agent: the node allows ptrace only with SYS_PTRACE (kernel.yama.ptrace_scope is 2); set it to 1 on the node, or let the daemon lock itself (memlock.dev/lock-by: daemon)"
            ),
        )),
        Some(3..) => Err(failure(
            conditions,
            format_args!(
                "cannot be locked by the agent: the node forbids ptrace (kernel.yama.ptrace_scope is 3); set it to 1 on the node, or let the daemon lock itself (memlock.dev/lock-by: daemon)"
            ),
        )),
        _ => Ok(()),
    }
}
