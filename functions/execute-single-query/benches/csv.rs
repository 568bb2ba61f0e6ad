//! How fast a result becomes CSV, beside what the csv crate's reader and writer take for its bytes.
//!
//! The two do not give the same: the csv crate can not keep NULL and the empty string apart.

#![expect(missing_docs, reason = "`criterion_group!` makes a function")]
#![expect(clippy::print_stdout, reason = "the ratio is what the bench is for")]

use std::{
    hint::black_box,
    io,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use csv::{ByteRecord, ReaderBuilder, WriterBuilder};
use execute_single_query::Transform;
use job::CsvOptions;

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

/// A result as Athena writes it: 12 columns of about 15 bytes, all quoted but NULL.
fn athena_result(size_bytes: usize) -> Vec<u8> {
    const COLUMNS: u64 = 12;
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut result = Vec::with_capacity(size_bytes + 1024);
    for column in 0..COLUMNS {
        result.extend_from_slice(format!("\"column_{column}\"").as_bytes());
        result.push(if column + 1 < COLUMNS { b',' } else { b'\n' });
    }
    while result.len() < size_bytes {
        for column in 0..COLUMNS {
            push_value(&mut result, column, &mut random);
            result.push(if column + 1 < COLUMNS { b',' } else { b'\n' });
        }
    }
    result
}

fn push_value(result: &mut Vec<u8>, column: u64, random: &mut Random) {
    const WORDS: [&str; 8] =
        ["order", "invoice", "Köln", "customer", "支店", "north", "paid", "São Paulo"];
    const AWKWARD: [&str; 4] = ["say \"\"hi\"\"", "Smith, John", "line\nbreak", "a, \"\"b\"\"\nc"];
    let value = random.next();
    let text = match (value % 50, column) {
        (0, _) => return,
        (1, _) => String::new(),
        (2, _) => AWKWARD[(value >> 32) as usize % AWKWARD.len()].to_owned(),
        (_, 0 | 1) => format!("{}", value >> 20),
        (_, 2) => {
            format!("2026-{:02}-{:02} {:02}:00:00", value % 12 + 1, value % 28 + 1, value % 24)
        }
        (_, 3 | 4) => format!("{}.{:02}", value >> 48, value % 100),
        (_, 5) => format!("{}", value % 2 == 0),
        (_, 6 | 7) => WORDS[(value >> 32) as usize % WORDS.len()].to_owned(),
        _ => format!(
            "{} {}",
            WORDS[(value >> 16) as usize % WORDS.len()],
            WORDS[(value >> 40) as usize % WORDS.len()]
        ),
    };
    result.push(b'"');
    result.extend_from_slice(text.as_bytes());
    result.push(b'"');
}

/// The same numbers in every run (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

criterion_group!(benches, csv);
criterion_main!(benches);
