//! What a function logs, and how much.

use std::io;

use serde::Deserialize;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, filter::filter_fn, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::settings::{self, SettingsError};

/// The crates whose log lines are ours, at any level.
///
/// What others say below `INFO` is left out whatever level is asked for: libraries write requests,
/// answers and packets there, and with them what must stay secret.
const OURS: &[&str] = &[
    "archive",
    "aws_io",
    "execute_single_query",
    "extract_s3_key",
    "file_transporter",
    "job",
    "job_api",
    "query_loader",
    "results_gatherer",
    "zip_s3_folder",
];

/// What Lambda sets by a function's logging configuration, and what users set by hand.
#[derive(Debug, Default, Deserialize)]
struct LogSettings {
    /// `AWS_LAMBDA_LOG_LEVEL`: a level, or a filter as `RUST_LOG` takes it. Default: `RUST_LOG`.
    aws_lambda_log_level: Option<String>,
    /// `RUST_LOG`: a filter of `tracing-subscriber`. Default: `info`.
    rust_log: Option<String>,
    /// `AWS_LAMBDA_LOG_FORMAT`: `JSON` or `Text`. Default: `Text`.
    #[serde(default)]
    aws_lambda_log_format: String,
}

/// Logs to the standard output from now on, one line an event.
///
/// As JSON with time and level, which Lambda reads to filter by level; as text without a time, which
/// Lambda adds.
///
/// # Errors
///
/// When the environment can not be read.
///
/// # Panics
///
/// When it is called twice.
pub fn start() -> Result<(), SettingsError> {
    let settings: LogSettings = settings::from_environment()?;
    let registry = Registry::default().with(settings.filter());
    if settings.aws_lambda_log_format.eq_ignore_ascii_case("json") {
        let lines = fmt::layer().json().flatten_event(true).with_writer(io::stdout);
        registry.with(lines.with_filter(filter_fn(may_be_logged))).init();
    } else {
        let lines = fmt::layer().without_time().with_ansi(false).with_writer(io::stdout);
        registry.with(lines.with_filter(filter_fn(may_be_logged))).init();
    }
    Ok(())
}

impl LogSettings {
    fn filter(&self) -> EnvFilter {
        let text = self.aws_lambda_log_level.as_ref().or(self.rust_log.as_ref());
        let text = text.map_or("info", |text| text.trim());
        // Lambda's levels are tracing's, and one more.
        let text = if text.eq_ignore_ascii_case("fatal") { "error" } else { text };
        EnvFilter::builder().parse_lossy(text)
    }
}

fn may_be_logged(event: &Metadata<'_>) -> bool {
    let target = event.target();
    let name = target.split_once("::").map_or(target, |(name, _)| name);
    *event.level() <= Level::INFO || OURS.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// Everything that is logged by `events`, one line each, by these settings.
    fn logged(settings: &LogSettings, events: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Log(Arc<Mutex<Vec<u8>>>);

        impl io::Write for Log {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let log = Log::default();
        let writer = log.clone();
        let lines = fmt::layer().without_time().with_ansi(false);
        let lines = lines.with_writer(move || writer.clone());
        let registry = Registry::default()
            .with(settings.filter())
            .with(lines.with_filter(filter_fn(may_be_logged)));
        tracing::subscriber::with_default(registry, events);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    #[track_caller]
    fn check(level: Option<&str>, rust_log: Option<&str>, expected: &[&str]) {
        let settings = LogSettings {
            aws_lambda_log_level: level.map(str::to_owned),
            rust_log: rust_log.map(str::to_owned),
            aws_lambda_log_format: String::new(),
        };
        let found = logged(&settings, || {
            tracing::debug!(target: "file_transporter::sftp", "ours in detail");
            tracing::info!(target: "file_transporter", "ours");
            tracing::error!(target: "job", "ours that failed");
            tracing::trace!(target: "russh::client", "a packet");
            tracing::debug!(target: "hyper", "a request");
            tracing::info!(target: "aws_config", "a library's news");
            tracing::debug!(target: "job_of_another", "not ours");
        });
        assert_eq!(found, expected, "{level:?} {rust_log:?}");
    }

    #[test]
    fn libraries_say_nothing_below_info_whatever_is_asked_for() {
        let all = [
            "DEBUG file_transporter::sftp: ours in detail",
            "INFO file_transporter: ours",
            "ERROR job: ours that failed",
            "INFO aws_config: a library's news",
        ];
        check(Some("DEBUG"), None, &all);
        check(Some("TRACE"), Some("error"), &all);
        check(None, Some("trace,russh=trace,hyper=debug"), &all);
    }

    #[test]
    fn the_level_of_lambda_counts_before_the_filter_and_info_is_the_default() {
        let info = [
            "INFO file_transporter: ours",
            "ERROR job: ours that failed",
            "INFO aws_config: a library's news",
        ];
        check(None, None, &info);
        check(Some("info"), Some("trace"), &info);
        check(Some("FATAL"), None, &["ERROR job: ours that failed"]);
        check(None, Some("file_transporter=info"), &["INFO file_transporter: ours"]);
    }

    #[test]
    fn every_crate_of_the_functions_is_ours() {
        let functions = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut names: Vec<_> = fs::read_dir(functions)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace('-', "_"))
            .collect();
        names.sort();
        assert_eq!(names, OURS);
    }
}
