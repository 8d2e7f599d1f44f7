//! What a byte costs that the driver touches itself.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nook_benches::levels::{Program, levels};
use nook_benches::rig::driver;
use touch_driver::job;

fn touch(criterion: &mut Criterion) {
    for (name, what) in [("checksum", job::CHECKSUM), ("touch", job::TOUCH), ("pio", job::PIO)] {
        for bytes in [64, 1500, 65536] {
            let mut group = criterion.benchmark_group(format!("{name}, {bytes} B"));
            group.throughput(Throughput::Bytes(bytes.into()));
            for level in levels() {
                let mut driver = driver(level, Program::Touch);
                group.bench_function(level.name, |bencher| {
                    bencher.iter(|| {
                        driver.poll(black_box(what), bytes, 0).unwrap();
                        driver.commit().unwrap();
                    });
                });
            }
        }
    }
}

criterion_group!(benches, touch);
criterion_main!(benches);
