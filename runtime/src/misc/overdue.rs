//! What the host saw of operations that a driver accepted and never completed, for people.

use super::Asked;
use crate::Host;

/// The most operations that are named.
const MOST_NAMED: usize = 3;

/// Returns how many interrupts the driver had, and of how many of them it said that they were not its own.
pub(super) fn irqs(host: &Host) -> (u64, u64) {
    (host.counters.irqs, host.counters.irqs_not_mine)
}

/// Names the operations, and says what came of them as far as it can be seen from here.
pub(super) fn seen(host: &Host, overdue: &[&Asked]) -> String {
    let operations = host.port.misc().and_then(|port| port.operations.as_deref()).unwrap_or_default();
    let name = |asked: &&Asked| operations.get(asked.operation as usize).map(|it| format!("`{}`", it.name));
    let names: Vec<String> = overdue.iter().take(MOST_NAMED).filter_map(name).collect();
    let before = overdue.first().map(|asked| asked.irqs).unwrap_or_default();
    format!("{}: {}", names.join(", "), interrupts(host, before))
}

/// Says which interrupts came since there were this many.
fn interrupts(host: &Host, (irqs, not_mine): (u64, u64)) -> String {
    let came = host.counters.irqs - irqs;
    let refused = host.counters.irqs_not_mine - not_mine;
    let interrupts = if came == 1 { "1 interrupt".to_owned() } else { format!("{came} interrupts") };
    if came == 0 && !host.device.had_interrupts() {
        "`irq_enable` was never called, so no interrupt can come".to_owned()
    } else if came == 0 && !host.device.has_interrupts() {
        "the driver turned its interrupts off, and none had come".to_owned()
    } else if came == 0 {
        "no interrupt came since: was the device started, and told to interrupt?".to_owned()
    } else if came == refused {
        format!("{interrupts} came since, and `irq` said of each that it was not its own")
    } else {
        format!("{interrupts} came since, and none of the calls completed it")
    }
}
