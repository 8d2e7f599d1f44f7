//! What it costs to enter a driver, to leave it again and to reach a register, for developers who change something
//! there. Published figures come from `cargo xtask bench`, which measures all levels interleaved.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nook_benches::levels::{DIRECT, Program, levels};
use nook_benches::rig::{driver, nook, round};
use touch_driver::job;

/// Number of crossings in a call.
const AMOUNT: u32 = 64;

fn crossings(criterion: &mut Criterion) {
    for (group, what, amount) in [
        ("null call", job::NOTHING, 1),
        ("hostcall", job::HOSTCALL, AMOUNT),
        ("register read", job::READ_REGISTER, AMOUNT),
        ("register write", job::WRITE_REGISTER, AMOUNT),
    ] {
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(amount.into()));
        for level in levels().iter().chain([&DIRECT]) {
            let mut driver = driver(level, Program::Touch);
            group.bench_function(level.name, |bencher| {
                bencher.iter(|| {
                    driver.poll(black_box(what), amount, 0).unwrap();
                    driver.commit().unwrap();
                });
            });
        }
    }
}

fn interrupt(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("interrupt and poll of 8 packets each way");
    for level in levels() {
        let (mut nook, _) = nook(&level.launcher(Program::E1000), 8, true);
        group.bench_function(level.name, |bencher| bencher.iter(|| round(&mut nook)));
    }
}

criterion_group!(benches, crossings, interrupt);
criterion_main!(benches);
