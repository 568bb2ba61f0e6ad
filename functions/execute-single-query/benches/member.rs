//! How fast a result becomes a member of an archive, beside Info-ZIP's `zip -6` on the same CSV.
//!
//! Cores that share their units, as hyper-threads do, count more CPU time when all are busy: the rows of
//! one core are the ones to compare CPU time by.
//!
//! Ours is the whole pass: the transform, SHA-256, CRC-32 and deflate on all cores, from memory to
//! nowhere. `zip` reads the CSV from a file and writes an archive.

#![expect(clippy::print_stdout, reason = "the table is what the bench is for")]

mod athena_result;

use std::{
    fs,
    num::NonZeroUsize,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use archive::Deflater;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use execute_single_query::Transform;
use job::CsvOptions;
use sha2::{Digest, Sha256};
use tokio::runtime;

use crate::athena_result::athena_result;

const CHUNK_BYTES: usize = 64 * 1024;

/// Without optimisation only whether it runs is of interest.
const RESULT_BYTES: usize = if cfg!(debug_assertions) { 1 << 20 } else { 200 << 20 };

/// The fields of `/proc/self/stat` with the time of this process and of its children, in ticks of
/// 1/100 second: `proc_pid_stat(5)`.
const CPU_TIME_FIELDS: std::ops::Range<usize> = 13..17;

/// What the runs of one way took.
#[derive(Default)]
struct Measured {
    times: Vec<(Duration, Duration)>,
    compressed_bytes: u64,
}

impl Measured {
    fn run(&mut self, count: u64, work: impl Fn() -> u64) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..count {
            let (begun, cpu_before) = (Instant::now(), cpu_time());
            self.compressed_bytes = work();
            let wall = begun.elapsed();
            self.times.push((wall, cpu_time().saturating_sub(cpu_before)));
            total += wall;
        }
        total
    }

    /// The medians of wall and CPU time, in seconds.
    fn medians(&self) -> (f64, f64) {
        let median = |mut times: Vec<Duration>| {
            times.sort();
            times[times.len() / 2].as_secs_f64()
        };
        let (wall, cpu) = self.times.iter().copied().unzip();
        (median(wall), median(cpu))
    }
}

fn member(criterion: &mut Criterion) {
    let result = athena_result(RESULT_BYTES);
    let directory = tempfile::tempdir().expect("a directory for the CSV");
    let csv = directory.path().join("member.csv");
    let csv_bytes = write_csv(&result, &csv);
    let mut group = criterion.benchmark_group("member");
    group.sample_size(10).throughput(Throughput::Bytes(csv_bytes));

    let all = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let ways = [
        ("level 6, all cores", 6, all),
        ("level 5, all cores", 5, all),
        ("level 4, all cores", 4, all),
        ("level 3, all cores", 3, all),
        ("level 6, one core", 6, NonZeroUsize::MIN),
        ("level 5, one core", 5, NonZeroUsize::MIN),
        ("level 4, one core", 4, NonZeroUsize::MIN),
    ];
    let mut rows = Vec::new();
    for (name, level, cores) in ways {
        let mut measured = Measured::default();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| measured.run(count, || pack(&result, level, cores)));
        });
        rows.push((name, measured));
    }
    let mut info_zip = Measured::default();
    if Command::new("zip").arg("-v").output().is_ok() {
        group.bench_function("zip -6", |bencher| {
            bencher.iter_custom(|count| info_zip.run(count, || run_zip(&csv)));
        });
    } else {
        println!("`zip` is not installed: nothing to compare with");
    }
    group.finish();
    if info_zip.times.is_empty() || rows.iter().any(|(_, measured)| measured.times.is_empty()) {
        return;
    }
    let (zip_wall, zip_cpu) = info_zip.medians();
    println!("against zip -6            wall     per CPU second     size");
    for (name, measured) in rows {
        let (wall, cpu) = measured.medians();
        let size = ratio(measured.compressed_bytes, info_zip.compressed_bytes);
        let (faster, cheaper) = (zip_wall / wall, zip_cpu / cpu);
        println!(
            "{name}  {faster:>8.2} times  {cheaper:>10.2} times  {:>+8.3} %",
            (size - 1.0) * 100.0
        );
    }
}

/// The whole pass over a result; gives what the CSV was deflated to.
fn pack(result: &[u8], level: u8, cores: NonZeroUsize) -> u64 {
    let runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut transform = Transform::new(CsvOptions::default());
        let mut digest = Sha256::new();
        let mut deflater = Deflater::new(level, cores);
        let (mut text, mut packed) = (Vec::new(), Vec::new());
        for chunk in result.chunks(CHUNK_BYTES) {
            transform.push(chunk, &mut text).expect("the result is well formed");
            digest.update(&text);
            deflater.push(&text, &mut packed).await;
            text.clear();
            packed.clear();
        }
        transform.finish().expect("the result is whole");
        std::hint::black_box(digest.finalize());
        deflater.finish(&mut packed).await.compressed_bytes
    })
}

fn write_csv(result: &[u8], path: &Path) -> u64 {
    let mut transform = Transform::new(CsvOptions::default());
    let mut text = Vec::new();
    transform.push(result, &mut text).expect("the result is well formed");
    transform.finish().expect("the result is whole");
    fs::write(path, &text).expect("the CSV can be written");
    text.len() as u64
}

fn run_zip(csv: &Path) -> u64 {
    let archive = csv.with_extension("zip");
    let _ = fs::remove_file(&archive);
    let status = Command::new("zip").args(["-6", "-q", "-j"]).arg(&archive).arg(csv).status();
    assert!(status.expect("`zip` runs").success());
    fs::metadata(&archive).expect("the archive is there").len()
}

/// The CPU time of this process and of the children that have ended; nothing where the system does
/// not tell.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.split(' ').collect();
    let ticks = fields.get(CPU_TIME_FIELDS).unwrap_or_default();
    Duration::from_millis(
        ticks.iter().filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10,
    )
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

criterion_group!(benches, member);
criterion_main!(benches);
