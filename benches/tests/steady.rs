//! What the steady path may cost, counted.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use nook_benches::levels::{Program, levels};
use nook_benches::rig::{nook, round};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread.
struct Counting;

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: our caller promises of the layout what the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: all memory of ours is the system's, and our caller promises that this is of this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_poll_of_32_packets_writes_three_registers_at_most_and_allocates_nothing() {
    for level in levels() {
        let isolation = level.name;
        let (mut nook, _) = nook(&level.launcher(Program::E1000), 32, false);
        let (before, moved, allocations) = (*nook.counters(), *nook.net_counters(), ALLOCATIONS.get());
        for _ in 0..1000 {
            round(&mut nook);
        }
        assert_eq!(ALLOCATIONS.get(), allocations, "{isolation}");
        let after = nook.counters();
        assert_eq!(nook.net_counters().packets() - moved.packets(), 64_000);
        let polls = after.polls - before.polls;
        assert_eq!(polls, 1000);
        assert_eq!(after.reg_reads, before.reg_reads, "{isolation}: registers are not read on the steady path");
        // One doorbell for each ring, and the interrupt's unmasking if it had been masked.
        let writes = after.reg_writes - before.reg_writes;
        assert!((2 * polls..=3 * polls).contains(&writes), "{isolation}: {writes} in {polls} polls");
        // In the sandbox doorbells are left in memory.
        let doorbells = if isolation.starts_with("sfi") { 2 * polls } else { 0 };
        let hostcalls = after.hostcalls - before.hostcalls;
        assert_eq!(hostcalls, writes - doorbells, "{isolation}: each hostcall is another register write");
    }
}
