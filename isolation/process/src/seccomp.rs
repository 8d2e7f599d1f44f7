//! Which system calls a driver's process may make, and which the [compiler's](crate::compiler): none that opens,
//! creates or reaches anything.
//!
//! The driver's list is what the C library's start-up and the guest's own code need (seen with strace, glibc 2.36),
//! each with the arguments that they use. Anything else ends the process.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use nook_process_guest::channel::{MEMORY_FD, WINDOW_FD};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// The descriptor of the driver's program, until it runs.
pub(crate) const PROGRAM_FD: i32 = 5;

/// The descriptor by which the set-up tells of its failure, until the program runs.
pub(crate) const STATUS_FD: i32 = 6;

/// One argument and what it has to be.
struct Is(u8, SeccompCmpOp, u64);

fn equal(argument: u8, value: i32) -> Is {
    Is(argument, SeccompCmpOp::Eq, value as u32 as u64)
}

/// The call, and the arguments with which it is allowed: any of the lists.
type Allowed = (c_long, Vec<Vec<Is>>);

fn allowed() -> Vec<Allowed> {
    let maps_own = |fd| {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        vec![equal(2, protection), equal(3, libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE), equal(4, fd)]
    };
    vec![
        // The channel.
        (libc::SYS_futex, vec![vec![equal(1, libc::FUTEX_WAIT)], vec![equal(1, libc::FUTEX_WAKE)]]),
        // Where there is no clock without a system call.
        (libc::SYS_clock_gettime, vec![]),
        (libc::SYS_mmap, vec![maps_own(MEMORY_FD), maps_own(WINDOW_FD)]),
        (libc::SYS_exit, vec![]),
        (libc::SYS_exit_group, vec![]),
        // Goes on with a sleep after the process was stopped and continued.
        (libc::SYS_restart_syscall, vec![]),
        // The program's start. Its descriptor closes as it begins, and nothing can give another that number.
        (libc::SYS_execveat, vec![vec![equal(0, PROGRAM_FD), equal(4, libc::AT_EMPTY_PATH)]]),
        (libc::SYS_write, vec![vec![equal(0, STATUS_FD)]]),
        // The C library's start.
        (libc::SYS_brk, vec![]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_arch_prctl, vec![vec![equal(0, ARCH_SET_FS)]]),
        (libc::SYS_set_tid_address, vec![]),
        (libc::SYS_set_robust_list, vec![]),
        (libc::SYS_rseq, vec![]),
        (libc::SYS_getrandom, vec![]),
        // Asks for a limit and sets none.
        (libc::SYS_prlimit64, vec![vec![equal(0, 0), equal(2, 0)]]),
        (libc::SYS_mprotect, vec![vec![Is(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)]]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_readlink, vec![]),
        (libc::SYS_readlinkat, vec![]),
    ]
}

/// For `arch_prctl`: where thread-local memory is (asm/prctl.h).
#[cfg(target_arch = "x86_64")]
const ARCH_SET_FS: i32 = 0x1002;

/// Allowed above, so that it does not end the process, and answered here: the C library asks where its program is.
const NOT_THERE: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    libc::SYS_readlinkat,
];

/// Returns the filters, in the order in which they are installed. The strictest answer counts.
///
/// # Errors
/// If this machine's architecture is not known.
pub(crate) fn programs() -> Result<[BpfProgram; 2], String> {
    Ok([answering(NOT_THERE, libc::ENOENT)?, allowing(allowed(), SeccompAction::KillProcess)?])
}

/// Returns the same for the compiler, which has threads and a heap. What else it asks for is refused and does not end
/// it: which calls the C library makes on the way to a thread differs from version to version.
///
/// # Errors
/// If this machine's architecture is not known.
pub(crate) fn compiler_programs() -> Result<[BpfProgram; 2], String> {
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    // Its flags lie in memory, where no filter sees them: the C library falls back to `clone`.
    Ok([answering(&[libc::SYS_clone3], libc::ENOSYS)?, allowing(allowed_to_compiler(), refused)?])
}

fn allowed_to_compiler() -> Vec<Allowed> {
    let no_code = || vec![vec![Is(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)]];
    let thread = (libc::CLONE_VM | libc::CLONE_THREAD) as u64;
    let any = [
        // Input and answer, whose descriptors are all that it has.
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_lseek,
        libc::SYS_fstat,
        // Memory.
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        // Threads.
        libc::SYS_clone3,
        libc::SYS_futex,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut allowed: Vec<Allowed> = any.map(|call| (call, vec![])).into();
    allowed.extend([
        (libc::SYS_mmap, no_code()),
        (libc::SYS_mprotect, no_code()),
        (libc::SYS_clone, vec![vec![Is(0, SeccompCmpOp::MaskedEq(thread), thread)]]),
        (libc::SYS_prctl, vec![vec![equal(0, libc::PR_SET_NAME)]]),
        // How the C library aborts, where memory is at its limit: to itself alone.
        (libc::SYS_tgkill, vec![vec![equal(0, std::process::id().cast_signed())]]),
    ]);
    allowed
}

/// Returns the filter that answers these calls with an error number.
fn answering(calls: &[c_long], error: c_int) -> Result<BpfProgram, String> {
    let rules = calls.iter().map(|&call| (call, vec![])).collect();
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(error as u32))
}

/// Returns the filter that allows these calls and does `otherwise` at all others.
fn allowing(allowed: Vec<Allowed>, otherwise: SeccompAction) -> Result<BpfProgram, String> {
    let mut rules = BTreeMap::new();
    for (call, ways) in allowed {
        let ways = ways.into_iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        rules.insert(call, ways);
    }
    compile(rules, otherwise, SeccompAction::Allow)
}

fn compile(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> Result<BpfProgram, String> {
    let arch = std::env::consts::ARCH.try_into().map_err(text)?;
    SeccompFilter::new(rules, otherwise, then, arch).and_then(BpfProgram::try_from).map_err(text)
}

fn rule(arguments: Vec<Is>) -> Result<SeccompRule, String> {
    // The whole register: what is above an `int` is zero in a call that means it.
    let condition = |Is(at, op, value)| SeccompCondition::new(at, SeccompCmpArgLen::Qword, op, value);
    let conditions = arguments.into_iter().map(condition).collect::<Result<Vec<_>, _>>().map_err(text)?;
    SeccompRule::new(conditions).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_for_this_machine() {
        let programs = [programs().unwrap(), compiler_programs().unwrap()];
        assert!(programs.as_flattened().iter().all(|program| !program.is_empty()));
    }

    #[test]
    fn nothing_that_opens_or_creates_is_allowed() {
        let never = [
            libc::SYS_openat,
            libc::SYS_socket,
            libc::SYS_execve,
            libc::SYS_ptrace,
            libc::SYS_kill,
            libc::SYS_memfd_create,
            libc::SYS_dup3,
            libc::SYS_ioctl,
            libc::SYS_sendmsg,
            libc::SYS_process_vm_writev,
            libc::SYS_seccomp,
            libc::SYS_io_uring_setup,
        ];
        let (driver, compiler) = (allowed(), allowed_to_compiler());
        assert!(driver.iter().chain(&compiler).all(|(call, _)| !never.contains(call)));
        assert!(driver.iter().all(|(call, _)| ![libc::SYS_clone, libc::SYS_clone3].contains(call)));
    }
}
