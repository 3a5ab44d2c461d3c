//! Every operation in both forms, forward and with its backward pass, and whole steps at the smallest sizes.
//!
//! `cargo bench --bench step` (all), `cargo bench --bench step -- attention` (some); `covft-probe bench step` times steps
//! of real sizes.

use covft_probe::experiment::step_bench::{Method, Preset, Resized, StepBench};
use covft_probe::kernels::{PoolAllocator, compute_on_this_thread, quiet_tensor_threads};
use covft_probe::ops::cases::{Kind, all};
use criterion::{BatchSize, Criterion};
use std::hint::black_box;
use std::time::Duration;

/// As in the program: without it, page faults are measured.
#[global_allocator]
static ALLOCATOR: PoolAllocator = PoolAllocator::new(3 << 29);

fn operations(criterion: &mut Criterion) {
    for case in all().expect("memory for the operations") {
        let mut group = criterion.benchmark_group(case.name);
        for (kind, name) in [(Kind::Fused, "fused"), (Kind::Composed, "composed")] {
            group.bench_function(format!("{name}, forward"), |bench| {
                bench.iter(|| black_box(case.forward(kind).expect("an operation that fits")));
            });
            group.bench_function(format!("{name}, with backward"), |bench| {
                bench.iter(|| case.both(kind).expect("an operation that fits"));
            });
        }
        group.finish();
    }
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    for (method, name) in [(Method::Covft, "covft"), (Method::Full, "full"), (Method::Freeze, "freeze")] {
        let resized = Resized::default();
        let bench =
            StepBench { preset: Preset::Tiny, resized, method, batch: 2, text_len: 24, question_len: 8, steps: 1 };
        let mut prepared = bench.prepare().expect("the preset's sizes fit");
        group.bench_function(name, |bench| {
            bench.iter_batched(|| (), |()| prepared.step().expect("a step"), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn main() {
    quiet_tensor_threads();
    // The graph of a step is walked and dropped by recursion: as the program does, give it room. Criterion's state cannot
    // change threads.
    let work = || {
        // One of the workers, as the trainer's thread is.
        compute_on_this_thread();
        let quick =
            Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        let mut criterion = quick.sample_size(20).configure_from_args();
        operations(&mut criterion);
        steps(&mut criterion);
        criterion.final_summary();
    };
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(work).expect("a thread");
    thread.join().expect("the benchmarks to end well");
}
