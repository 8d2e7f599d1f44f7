//! What a packet costs: one turn of the loop, whose `poll` receives and sends a batch.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nook_benches::levels::{Program, levels};
use nook_benches::rig::{nook, round};

fn poll(criterion: &mut Criterion) {
    for batch in [1, 8, 32, 128, 255] {
        let mut group = criterion.benchmark_group(format!("poll, batch {batch}"));
        group.throughput(Throughput::Elements(u64::from(batch)));
        for level in levels() {
            let (mut nook, _) = nook(&level.launcher(Program::E1000), batch, false);
            group.bench_function(level.name, |bencher| bencher.iter(|| round(&mut nook)));
        }
    }
}

criterion_group!(benches, poll);
criterion_main!(benches);
