//! Stores: of all that is mapped in the process a driver writes to what has its own key, and to nothing else.

use std::hint::black_box;

use hostile_domain::wrong;
use nook_abi::TrapKind;

use crate::rig::{alone, begin, ends, host, launched, launcher, mappings, opened, polled, tell, trap, works};

#[test]
fn a_store_to_anything_of_the_hosts_ends_the_call_and_changes_nothing() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    static mut DATA: u64 = 7;
    let heap = Box::new(7u64);
    let stack = 7u64;
    let other = opened(&launcher, wrong::NOTHING, 0);
    let at = [
        ("static data", (&raw const DATA) as u64),
        ("heap", &raw const *heap as u64),
        ("stack", &raw const stack as u64),
        ("code", ends as *const () as u64),
        ("another driver's host page", other.host_page() as u64),
        ("nothing", 0),
        ("no address", u64::MAX << 62),
    ];
    for (what, address) in at {
        let ended = ends(&launcher, wrong::STORES, address);
        assert_eq!(ended, trap(TrapKind::MemoryOutOfBounds), "{what}");
    }
    // SAFETY: nobody writes to it but a driver that is not stopped.
    assert_eq!((unsafe { (&raw const DATA).read_volatile() }, black_box(*heap), black_box(stack)), (7, 7, 7));
    assert_eq!(ends(&launcher, wrong::LOADS, &raw const *heap as u64), Ok(()), "it reads what everybody reads");
    drop(other.end());
}

/// The kernel says what each mapping's key is. The driver's own code, table of hostcalls, gates, vtables and relocated
/// addresses are among them, the host's view of its memory, another driver's memory and window, stacks of handlers.
#[test]
fn of_all_that_is_mapped_only_what_has_the_drivers_key_and_is_writable_can_be_written_to() {
    let _alone = alone();
    let Some(launcher) = launcher() else { return };
    let other = opened(&launcher, wrong::NOTHING, 0);
    let (mut tried, mut own, mut own_fixed, mut others) = (0, 0, 0, 0);
    for index in 0.. {
        let (host, handle) = host(wrong::NOTHING, 0);
        let mut driver = launched(&launcher, host);
        let all = mappings();
        let Some(to) = all.get(index).cloned() else {
            drop(driver.end());
            break;
        };
        let key = all.iter().find(|one| (one.begin..one.end).contains(&(driver.host_page() as u64))).unwrap().key;
        assert_ne!(key, 0);
        tell(&handle, wrong::STORES, to.begin);
        begin(&mut *driver);
        // Its key and writable: heap, stack, data, queues, window.
        let may = to.key == key && to.access.contains('w');
        // Its guard is called what it is, and ends the call too.
        let ended = polled(driver);
        let is_trap = ended == trap(TrapKind::MemoryOutOfBounds) || ended == trap(TrapKind::StackOverflow);
        assert!(if may { ended.is_ok() } else { is_trap }, "{to:x?}: {ended:?}");
        tried += 1;
        own += u32::from(may);
        own_fixed += u32::from(to.key == key && !may);
        others += u32::from(to.key != key && to.key != 0 && to.access.contains('w'));
    }
    println!("{tried} mappings: {own} writable with its key, {own_fixed} not, {others} of another driver's");
    assert!(own >= 3 && own_fixed >= 5 && others >= 3, "data, stack and window; headers, code, tables and gates");
    drop(other.end());
    works(&launcher);
}
