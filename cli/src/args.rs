//! The command line.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf};

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  something else went wrong: a disk is full, the stack broke off
    2  the job is refused or can not be read, or an argument is wrong; nothing ran
    3  the run failed
    4  the stack could not start: a function's binary, a port or the data directory is missing
  130  interrupted by Ctrl-C or SIGTERM; everything it started is stopped (`local` is meant
       to end so, and ends with 0)

Environment:
  RUST_LOG  what is logged to the standard error stream, as `info` or `local=debug` [default: warn]";

const RUN_EXAMPLES: &str = "\
Examples:
  athena-workflow sample ./data --scale 0.01
  athena-workflow run job.json --queries ./queries --data ./data
  athena-workflow run job.json --queries ./queries --data ./data --out ./partner --work-dir ./work
  athena-workflow run job.json --queries ./queries --data ./data --format json | jq .file";

const LOCAL_EXAMPLES: &str = "\
Examples:
  athena-workflow local --data ./data
  athena-workflow local --data ./data --port 4566 --api-port 8080 --sftp-port 2222
  athena-workflow local --data ./data --queries ./queries --schedules
  athena-workflow local --data ./data --stack infra/stacks/prod.json";

const SAMPLE_EXAMPLES: &str = "\
Examples:
  athena-workflow sample ./data
  athena-workflow sample ./data --scale 1";

/// Runs SQL reports on Athena and delivers them as one file.
///
/// Everything here runs on this machine: the state machine and the function binaries are those
/// that run on AWS, the servers that they speak to are local ones.
#[derive(Debug, Parser)]
#[command(name = "athena-workflow", version, after_help = EXIT_CODES)]
pub struct Args {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What the command can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one job on this machine, from the SQL files to the delivered file.
    ///
    /// Starts the stack on free ports of 127.0.0.1, uploads the SQL files below the job's
    /// `query_prefix`, posts the job, shows how it goes, and stops the stack.
    ///
    /// A job never reaches its real partner from here: the SFTP server of this laptop stands in for
    /// the `sftp_host` of the job. Its host key is pinned unless the job pins one itself; user,
    /// password and path stay as the job says, so `--sftp-user` and `--sftp-password` must be the
    /// ones in the job. The delivered file lands in `--out` below the job's `sftp_path`. A ShareFile
    /// account of this laptop stands in for the job's: its folders are in `sharefile/` of `--out`.
    /// It takes the credentials in the job, or `partner` for each that comes from a secret. Without
    /// a transporter the file is copied into `--out`.
    ///
    /// The result goes to the standard output, progress and errors to the standard error stream.
    #[command(after_help = RUN_EXAMPLES, after_long_help = format!("{RUN_EXAMPLES}\n\n{EXIT_CODES}"))]
    Run(RunArgs),
    /// Start the stack on this machine and keep it until Ctrl-C or SIGTERM.
    ///
    /// Prints every endpoint and how the AWS CLI, curl and sftp reach it. A job that is posted to it is
    /// delivered to the `sftp_host` or the ShareFile account that it names. The state of a stack is in
    /// `--work-dir`; the next start finds the objects there again.
    #[command(after_help = LOCAL_EXAMPLES, after_long_help = format!("{LOCAL_EXAMPLES}\n\n{EXIT_CODES}"))]
    Local(LocalArgs),
    /// Write sample data: the eight tables of TPC-H as Parquet files, in `<DIR>/tpch/`.
    ///
    /// They are the database `tpch` of `--data <DIR>`.
    #[command(after_help = SAMPLE_EXAMPLES, after_long_help = format!("{SAMPLE_EXAMPLES}\n\n{EXIT_CODES}"))]
    Sample(SampleArgs),
}

/// The arguments of `run`.
#[derive(Debug, Group)]
pub struct RunArgs {
    /// The job: a JSON file.
    #[arg(value_name = "JOB.json")]
    pub job: PathBuf,
    /// The SQL files: every `*.sql` and `query_index.json` in it and its directories is uploaded.
    #[arg(long, value_name = "DIR")]
    pub queries: PathBuf,
    /// Where objects, logs and the host key are kept [default: a temporary directory, removed at
    /// the end unless the run failed].
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Copy the run's manifest to this file: every query, the delivered file, the receipt.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// What the result is printed as.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// What every stack needs.
    #[command(flatten)]
    pub stack: StackArgs,
}

/// The arguments of `local`.
#[derive(Debug, Group)]
pub struct LocalArgs {
    /// Where objects, logs and the host key are kept.
    #[arg(long, value_name = "DIR", default_value = ".athena-workflow")]
    pub work_dir: PathBuf,
    /// The port of the AWS endpoint (S3, Athena, Lambda, Step Functions); 0 is any free one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port: u16,
    /// The port of the HTTPS endpoint's double, which is plain HTTP; 0 is any free one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub api_port: u16,
    /// The port of the SFTP server; 0 is any free one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub sftp_port: u16,
    /// The port of the ShareFile account; 0 is any free one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub sharefile_port: u16,
    /// SQL files to upload: every `*.sql` and `query_index.json` in it and its directories.
    #[arg(long, value_name = "DIR")]
    pub queries: Option<PathBuf>,
    /// The bucket to upload `--queries` to [default: the stack's own].
    #[arg(long, value_name = "NAME", requires = "queries")]
    pub bucket: Option<job::BucketName>,
    /// Have the stack's schedules start runs: `rate(…)` at once, as when they are made on AWS, the
    /// others when it is time. The SFTP server and the ShareFile account of this laptop stand in for
    /// those of the schedules' jobs.
    #[arg(long)]
    pub schedules: bool,
    /// The prefix to upload `--queries` below.
    #[arg(long, value_name = "PREFIX", default_value = "queries/", requires = "queries")]
    pub prefix: String,
    /// What every stack needs.
    #[command(flatten)]
    pub stack: StackArgs,
}

/// What every stack needs.
#[derive(Debug, Group)]
pub struct StackArgs {
    /// The tables: `<DIR>/<database>/<table>.parquet` or `.csv`.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The root of the SFTP server on disk: where delivered files are.
    #[arg(long, value_name = "DIR", default_value = "athena-workflow-out")]
    pub out: PathBuf,
    /// The user that the SFTP server accepts.
    #[arg(long, value_name = "USER", default_value = "partner")]
    pub sftp_user: String,
    /// The password that the SFTP server accepts.
    #[arg(long, value_name = "PASSWORD", default_value = "partner", value_parser = secret)]
    pub sftp_password: SecretString,
    /// A secret that jobs may name: the contents of the file under this name in Secrets Manager, or
    /// in the Parameter Store for `ssm:NAME=FILE`. May be given several times. It stays in memory.
    #[arg(long = "secret", value_name = "NAME=FILE", value_parser = secret_file)]
    pub secrets: Vec<SecretFile>,
    /// What is deployed: a stack as `npm run synth` writes it [default: the stack `dev` of the
    /// repository, which this command was built with].
    #[arg(long, value_name = "FILE")]
    pub stack: Option<PathBuf>,
    /// The Lambda binaries [default: the directory of this executable].
    #[arg(long, value_name = "DIR")]
    pub functions: Option<PathBuf>,
    /// What the functions log, into `<work-dir>/logs`, in the form of `RUST_LOG`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log_filter: String,
}

/// A secret in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// What jobs call it.
    pub name: String,
    /// The file with its text.
    pub path: PathBuf,
}

/// The arguments of `sample`.
#[derive(Debug, Group)]
pub struct SampleArgs {
    /// The directory to write to; files of the same names are replaced.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// How much: 1 is 6 million line items, some 250 MB of Parquet.
    #[arg(long, value_name = "FACTOR", default_value_t = 0.01, value_parser = scale)]
    pub scale: f64,
}

/// What a result is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: a table of the queries, and where the file is.
    Text,
    /// For programs: the run as `GET /jobs/{run_id}` answers it.
    Json,
}

/// The address of a port of this machine that other machines do not reach.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[expect(clippy::unnecessary_wraps, reason = "clap asks a parser for a result")]
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}

fn secret_file(text: &str) -> Result<SecretFile, String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok(SecretFile { name: name.to_owned(), path: path.into() })
        }
        _ => Err("expected NAME=FILE".to_owned()),
    }
}

/// A larger factor would fill the disk of any laptop.
const SCALE_MAX: f64 = 1000.0;

fn scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if scale > 0.0 && scale <= SCALE_MAX => Ok(scale),
        Ok(_) | Err(_) => Err(format!("expected a number above 0 and up to {SCALE_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<(), ErrorKind>) {
        let parsed = Args::try_parse_from(line.split(' '));
        assert_eq!(parsed.map(|_| ()).map_err(|error| error.kind()), expected, "{line}");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_is_needed_must_be_given_and_what_is_given_must_make_sense() {
        check("athena-workflow run job.json --queries q --data d", Ok(()));
        check("athena-workflow run job.json --queries q --data d --format json", Ok(()));
        check("athena-workflow run job.json --queries q", Err(ErrorKind::MissingRequiredArgument));
        check("athena-workflow run --queries q --data d", Err(ErrorKind::MissingRequiredArgument));
        check(
            "athena-workflow run job.json --queries q --data d --format xml",
            Err(ErrorKind::InvalidValue),
        );
        check("athena-workflow local --data d --queries q --bucket acme-queries", Ok(()));
        check("athena-workflow local --data d --queries q", Ok(()));
        check(
            "athena-workflow local --data d --bucket acme-queries",
            Err(ErrorKind::MissingRequiredArgument),
        );
        check(
            "athena-workflow local --data d --queries q --bucket A_B",
            Err(ErrorKind::ValueValidation),
        );
        check("athena-workflow local --data d --secret a/b=s.json --secret ssm:/c=t", Ok(()));
        check("athena-workflow local --data d --secret s.json", Err(ErrorKind::ValueValidation));
        check("athena-workflow local --data d --port 70000", Err(ErrorKind::ValueValidation));
        check("athena-workflow sample d --scale 0.5", Ok(()));
        for scale in ["0", "-1", "NaN", "inf", "2000", "x"] {
            check(
                &format!("athena-workflow sample d --scale={scale}"),
                Err(ErrorKind::ValueValidation),
            );
        }
        check("athena-workflow", Err(ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand));
    }

    #[test]
    fn the_password_is_not_in_debug_output() {
        let line = "athena-workflow run job.json --queries q --data d --sftp-password hunter2";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        assert!(!format!("{args:?}").contains("hunter2"));
    }

    #[test]
    fn the_help_of_every_command_lists_the_exit_codes() {
        for command in ["run", "local", "sample"] {
            let help = Args::try_parse_from(["athena-workflow", command, "--help"])
                .unwrap_err()
                .to_string();
            for code in [
                "    2  the job is refused",
                "    3  the run failed",
                "    4  the stack",
                "  130  interrupted",
            ] {
                assert!(help.contains(code), "{command}: {help}");
            }
        }
    }
}
