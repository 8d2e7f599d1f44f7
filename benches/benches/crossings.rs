//! What it costs to enter a driver and to leave it again: nothing else happens.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nook_benches::driver;
use nook_tests::Isolation;

/// Registers that the driver reads in `stats`, and writes in `set_rx_mode` on an open interface.
fn count(isolation: Isolation) -> (u64, u64) {
    let mut driver = driver(isolation);
    assert_eq!(driver.open(), Ok(0));
    let before = *driver.host().counters();
    driver.stats().unwrap();
    let between = *driver.host().counters();
    assert_eq!(driver.set_rx_mode(0, 0), Ok(0));
    let after = *driver.host().counters();
    (between.reg_reads - before.reg_reads, after.reg_writes - between.reg_writes)
}

fn crossings(criterion: &mut Criterion) {
    let (reads, writes) = count(Isolation::Native);
    for isolation in Isolation::ALL {
        let name = format!("{isolation:?}").to_lowercase();

        // Before `open`, `poll` looks at one flag and returns.
        let mut closed = driver(isolation);
        criterion.benchmark_group("null call").bench_function(&name, |bencher| {
            bencher.iter(|| closed.poll(black_box(0), 32, 0).unwrap());
        });

        let mut open = driver(isolation);
        assert_eq!(open.open(), Ok(0));
        let mut group = criterion.benchmark_group("register read");
        group.throughput(Throughput::Elements(reads));
        group.bench_function(&name, |bencher| bencher.iter(|| open.stats().unwrap()));
        drop(group);
        let mut group = criterion.benchmark_group("register write");
        group.throughput(Throughput::Elements(writes));
        // Alternating, so that nothing is found unchanged.
        let mut mode = 0;
        group.bench_function(&name, |bencher| {
            bencher.iter(|| {
                mode ^= nook_abi::rx_mode::PROMISCUOUS;
                open.set_rx_mode(mode, 0).unwrap()
            });
        });
    }
}

criterion_group!(benches, crossings);
criterion_main!(benches);
