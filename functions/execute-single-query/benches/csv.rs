//! How fast a result becomes CSV, beside what the csv crate's reader and writer take for its bytes.
//!
//! The two do not give the same: the csv crate can not keep NULL and the empty string apart.

#![expect(clippy::print_stdout, reason = "the ratio is what the bench is for")]

mod athena_result;

use std::{
    hint::black_box,
    io,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use csv::{ByteRecord, ReaderBuilder, WriterBuilder};
use execute_single_query::Transform;
use job::CsvOptions;

use crate::athena_result::athena_result;

const CHUNK_BYTES: usize = 64 * 1024;

/// Without optimisation only whether it runs is of interest.
const RESULT_BYTES: usize = if cfg!(debug_assertions) { 1 << 20 } else { 256 << 20 };

fn csv(criterion: &mut Criterion) {
    let result = athena_result(RESULT_BYTES);
    let mut group = criterion.benchmark_group("csv");
    group.sample_size(10).throughput(Throughput::Bytes(result.len() as u64));

    let (mut transform_times, mut crate_times) = (Vec::new(), Vec::new());
    group.bench_function("transform", |bencher| {
        bencher.iter_custom(|count| timed(count, &mut transform_times, || transform(&result)));
    });
    group.bench_function("csv crate", |bencher| {
        bencher.iter_custom(|count| timed(count, &mut crate_times, || read_and_write(&result)));
    });
    group.finish();

    if let (Some((fast, fastest)), Some((slow, least_slow))) =
        (median_and_best(transform_times), median_and_best(crate_times))
    {
        println!(
            "the transform is {:.2} times as fast as the csv crate (median), {:.2} times (best)",
            slow.as_secs_f64() / fast.as_secs_f64(),
            least_slow.as_secs_f64() / fastest.as_secs_f64(),
        );
    }
}

fn transform(result: &[u8]) -> u64 {
    let mut transform = Transform::new(CsvOptions::default());
    let mut out = Vec::new();
    for chunk in result.chunks(CHUNK_BYTES) {
        out.clear();
        transform.push(black_box(chunk), &mut out).expect("the result is well formed");
        black_box(&out);
    }
    transform.finish().expect("the result is whole")
}

fn read_and_write(result: &[u8]) -> u64 {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .buffer_capacity(CHUNK_BYTES)
        .from_reader(black_box(result));
    let mut writer = WriterBuilder::new().buffer_capacity(CHUNK_BYTES).from_writer(io::sink());
    let mut record = ByteRecord::new();
    let mut records = 0;
    while reader.read_byte_record(&mut record).expect("the result is well formed") {
        writer.write_byte_record(&record).expect("a sink takes everything");
        records += 1;
    }
    records - 1
}

/// Runs `work` so many times and keeps the time of each.
fn timed(count: u64, times: &mut Vec<Duration>, work: impl Fn() -> u64) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..count {
        let begun = Instant::now();
        black_box(work());
        let time = begun.elapsed();
        times.push(time);
        total += time;
    }
    total
}

/// Nothing for a bench that was filtered out.
fn median_and_best(mut times: Vec<Duration>) -> Option<(Duration, Duration)> {
    times.sort();
    Some((*times.get(times.len() / 2)?, *times.first()?))
}

criterion_group!(benches, csv);
criterion_main!(benches);
