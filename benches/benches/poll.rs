//! What a packet costs: one `poll` that receives and sends a batch, with the host's work on the queues.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nook_benches::{nook, round};
use nook_tests::Isolation;

fn poll(criterion: &mut Criterion) {
    for batch in [1, 32, 250] {
        let mut group = criterion.benchmark_group(format!("poll, batch {batch}"));
        group.throughput(Throughput::Elements(u64::from(batch)));
        for isolation in Isolation::ALL {
            let mut nook = nook(isolation, batch);
            let name = format!("{isolation:?}").to_lowercase();
            group.bench_function(name, |bencher| bencher.iter(|| round(&mut nook)));
        }
    }
}

criterion_group!(benches, poll);
criterion_main!(benches);
