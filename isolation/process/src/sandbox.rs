//! The way from a copy of this process into a driver's program, without anything that the driver has no business with.
//!
//! [`enter`] runs in the copy, which has one thread and the locks of all: it calls the system and nothing else. All of
//! the sandbox is up before the program's first instruction, so none of it depends on what is in the program's file.
#![expect(unsafe_code, reason = "in a copy of this process only raw system calls are safe from other threads' locks")]

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_long, c_ulong};
use nook_process_guest::channel::{MEMORY_FD, WINDOW_FD};
use seccompiler::BpfProgram;

use crate::seccomp::{PROGRAM_FD, STATUS_FD};

/// Whom a driver's process runs as if it may be anybody else: `nobody`.
pub(crate) const NOBODY: u32 = 65534;

/// The descriptor from which the process hears that its users were mapped.
const GO_FD: i32 = 7;

/// The first descriptor that is not one of the fixed ones.
const FREE_FD: i32 = 8;

/// Every namespace but the users' own.
pub(crate) const NAMESPACES: c_int = libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Everything that the copy needs, made beforehand.
pub(crate) struct Plan<'a> {
    /// The namespaces that it is in already.
    pub(crate) namespaces: c_int,
    /// Whether it becomes [`NOBODY`].
    pub(crate) drops_user: bool,
    /// Whether it has other groups, and the right to drop them.
    pub(crate) drops_groups: bool,
    pub(crate) memory: RawFd,
    pub(crate) window: RawFd,
    pub(crate) program: RawFd,
    pub(crate) status: RawFd,
    pub(crate) go: RawFd,
    /// The other end of `go`, which is this process's.
    pub(crate) go_other_end: RawFd,
    pub(crate) limits: [(Resource, u64); 9],
    pub(crate) filters: &'a [BpfProgram; 2],
}

#[cfg(target_env = "gnu")]
pub(crate) type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
pub(crate) type Resource = c_int;

/// Returns what a driver's process may use. `NPROC` and `NOFILE` say that it makes no process and no descriptor.
pub(crate) const fn limits(mapped_bytes: u64) -> [(Resource, u64); 9] {
    [
        (libc::RLIMIT_AS, mapped_bytes + (32 << 20)),
        (libc::RLIMIT_DATA, 16 << 20),
        (libc::RLIMIT_STACK, 1 << 20),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_MEMLOCK, 0),
        (libc::RLIMIT_MSGQUEUE, 0),
        (libc::RLIMIT_NPROC, 0),
        (libc::RLIMIT_NOFILE, 0),
    ]
}

/// What the copy was at when it failed: the first half of what it tells, and the error number the second.
macro_rules! steps {
    ($($step:ident $text:literal,)*) => {
        #[derive(Clone, Copy)]
        #[repr(i32)]
        enum SetupStep { $($step,)* }

        /// Describes step number `step`, for people.
        pub(crate) fn describe(step: i32) -> &'static str {
            match step {
                $(_ if step == SetupStep::$step as i32 => $text,)*
                _ => "an unknown step",
            }
        }
    };
}

steps! {
    ProcessGroup "leaving the host's process group",
    Parent "asking to die with its parent",
    Orphaned "finding its parent alive",
    Groups "dropping its groups",
    User "becoming nobody",
    Mounts "leaving the file system",
    Privileges "giving up new privileges",
    Limits "limiting its resources",
    Descriptors "closing descriptors",
    Filter "filtering its system calls",
    Program "starting the driver's program",
}

/// Fails if the system did.
fn check(step: SetupStep, status: RawFd, answer: c_long) {
    if answer >= 0 {
        return;
    }
    // SAFETY: the address of this thread's error number.
    let error = unsafe { *libc::__errno_location() };
    fail(step, status, error)
}

fn fail(step: SetupStep, status: RawFd, error: c_int) -> ! {
    let words = [step as i32, error];
    // SAFETY: writes two words that are there, and ends the process without what belongs to the one it was copied from.
    unsafe {
        libc::write(status, words.as_ptr().cast(), size_of_val(&words));
        libc::_exit(1)
    }
}

/// Puts the sandbox up and becomes the driver's program.
///
/// The C library's own functions for users and groups would tell all of its threads, which the copy does not have: here
/// the system is called directly.
///
/// # Safety
/// In a fresh copy of this process only: the descriptors, mounts and rights that go are the copy's.
pub(crate) unsafe fn enter(plan: &Plan<'_>) -> ! {
    let status = plan.status;
    // SAFETY: system calls on the copy's own state, with pointers to what lives as long as the call.
    unsafe {
        libc::close(plan.go_other_end);
        // What is typed at a terminal is for the host. A session would serve for that too, but the kernel schedules
        // each session as one (sched(7), autogroup): it left a driver's process waiting for seconds on a processor on
        // which nothing ran but what had the lowest priority in the host's session.
        check(SetupStep::ProcessGroup, status, libc::setpgid(0, 0).into());
        die_with_parent(status);
        let mut go = 0u8;
        if libc::read(plan.go, (&raw mut go).cast(), 1) != 1 {
            fail(SetupStep::Orphaned, status, libc::ESRCH);
        }
        let (own_files, own_users) =
            (plan.namespaces & libc::CLONE_NEWNS != 0, plan.namespaces & libc::CLONE_NEWUSER != 0);
        // Root's rights go with its user; among its own users the copy has them until the program begins.
        if own_files && !own_users {
            leave_files(status);
        }
        if plan.drops_groups {
            check(SetupStep::Groups, status, libc::syscall(libc::SYS_setgroups, 0, 0));
        }
        if plan.drops_user {
            check(SetupStep::User, status, libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY));
            check(SetupStep::User, status, libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY));
        }
        if own_files && own_users {
            leave_files(status);
        }
        check(SetupStep::Privileges, status, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into());
        keep_descriptors(plan);
        // Changing the user clears this setting.
        die_with_parent(STATUS_FD);
        let mut parent = libc::pollfd { fd: GO_FD, events: 0, revents: 0 };
        if libc::poll(&mut parent, 1, 0) != 0 {
            fail(SetupStep::Orphaned, STATUS_FD, libc::ESRCH);
        }
        for (resource, limit) in plan.limits {
            let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            check(SetupStep::Limits, STATUS_FD, libc::setrlimit(resource, &limit).into());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
        for filter in plan.filters {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut().cast() };
            let answer = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program);
            check(SetupStep::Filter, STATUS_FD, answer);
        }
        let name: &CStr = c"nook-driver";
        let (arguments, environment) = ([name.as_ptr(), ptr::null()], [ptr::null::<libc::c_char>()]);
        let answer = libc::syscall(
            libc::SYS_execveat,
            PROGRAM_FD,
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
        check(SetupStep::Program, STATUS_FD, answer);
        libc::_exit(1)
    }
}

/// # Safety
/// As for [`enter`].
unsafe fn die_with_parent(status: RawFd) {
    // SAFETY: changes what becomes of the copy.
    let answer = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong, 0, 0, 0) };
    check(SetupStep::Parent, status, answer.into());
}

/// Replaces all that is mounted by an empty folder that cannot be written to.
///
/// # Safety
/// As for [`enter`], in its own mount namespace.
unsafe fn leave_files(status: RawFd) {
    // Any folder that is there will do.
    let folder = c"/proc".as_ptr();
    let tmpfs = c"tmpfs".as_ptr();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let bare = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: the mounts that change are the copy's own.
    unsafe {
        check(
            SetupStep::Mounts,
            status,
            libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()).into(),
        );
        let options = c"size=4k,mode=555".as_ptr().cast();
        check(SetupStep::Mounts, status, libc::mount(tmpfs, folder, tmpfs, bare, options).into());
        check(SetupStep::Mounts, status, libc::chdir(folder).into());
        // The old root comes to lie above the new one, and goes (pivot_root(2), its notes).
        let here = c".".as_ptr();
        check(SetupStep::Mounts, status, libc::syscall(libc::SYS_pivot_root, here, here));
        check(SetupStep::Mounts, status, libc::umount2(here, libc::MNT_DETACH).into());
        check(SetupStep::Mounts, status, libc::chdir(c"/".as_ptr()).into());
    }
}

/// Gives the descriptors that stay their numbers, and closes all others, standard input and outputs among them.
///
/// # Safety
/// As for [`enter`].
unsafe fn keep_descriptors(plan: &Plan<'_>) {
    let keep = [
        (plan.memory, MEMORY_FD, 0),
        (plan.window, WINDOW_FD, 0),
        (plan.program, PROGRAM_FD, libc::O_CLOEXEC),
        (plan.status, STATUS_FD, libc::O_CLOEXEC),
        (plan.go, GO_FD, libc::O_CLOEXEC),
    ];
    // SAFETY: the descriptors are the copy's own.
    unsafe {
        // First out of the way, as any of them may have another's number.
        let away = keep.map(|(from, _, _)| {
            let fd = libc::fcntl(from, libc::F_DUPFD_CLOEXEC, FREE_FD);
            check(SetupStep::Descriptors, plan.status, fd.into());
            fd
        });
        let status = away[3];
        for (&fd, (_, to, flags)) in away.iter().zip(keep) {
            check(SetupStep::Descriptors, status, libc::dup3(fd, to, flags).into());
        }
        for (first, last) in [(0, MEMORY_FD as u32 - 1), (FREE_FD as u32, u32::MAX)] {
            check(SetupStep::Descriptors, STATUS_FD, libc::syscall(libc::SYS_close_range, first, last, 0));
        }
    }
}
