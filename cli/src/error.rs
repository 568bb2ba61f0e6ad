//! What can go wrong, and what the process ends with for it.

use std::{io, path::PathBuf, process::ExitCode};

use job::view::ProblemDetails;

/// What the process ends with. The numbers are part of the command's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Success = 0,
    /// Something else went wrong: a disk is full, the stack broke off.
    Broken = 1,
    /// The job, or another argument, can not be used; nothing ran.
    Refused = 2,
    /// The run failed.
    Failed = 3,
    /// The stack could not start.
    NotStarted = 4,
    /// Somebody stopped it.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system does not say where the binary is.
    #[error("looking for the directory of this executable")]
    Executable(#[source] io::Error),
    /// The job's file.
    #[error("reading the job `{}`", path.display())]
    ReadJob {
        /// The file.
        path: PathBuf,
        /// Why it can not be read.
        source: io::Error,
    },
    /// The file of a secret.
    #[error("reading the secret in `{}`", path.display())]
    ReadSecret {
        /// The file.
        path: PathBuf,
        /// Why it can not be read.
        source: io::Error,
    },
    /// A secret is not taken.
    #[error("putting the secret `{name}` in place")]
    PutSecret {
        /// Its name.
        name: String,
        /// Why.
        source: local::RefusedSecret,
    },
    /// The file of a stack.
    #[error("reading the stack `{}`", path.display())]
    ReadStack {
        /// The file.
        path: PathBuf,
        /// Why it can not be read.
        source: io::Error,
    },
    /// The file of a stack holds no stack.
    #[error("following the stack `{}`", path.display())]
    FollowStack {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: local::DeploymentError,
    },
    /// The job's file is not JSON.
    #[error("the job is not JSON: `{}`, line {line}, column {column}", path.display())]
    ParseJob {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1.
        column: usize,
        /// What was found there.
        source: serde_json::Error,
    },
    /// The endpoint refused the job.
    #[error("the job is refused: {}", .0.detail)]
    RefusedJob(Box<ProblemDetails>),
    /// The SQL files.
    #[error("reading the queries in `{}`", path.display())]
    ReadQueries {
        /// The file or directory.
        path: PathBuf,
        /// Why it can not be read.
        source: io::Error,
    },
    /// A file whose path is not text can not become a key.
    #[error("the path of `{}` is not UTF-8, so it can not be a key", path.display())]
    QueryPath {
        /// The file.
        path: PathBuf,
    },
    /// Nothing to upload.
    #[error("there is no `.sql` file in `{}`", path.display())]
    NoQueries {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that is written to.
    #[error("making the directory `{}`", path.display())]
    MakeDirectory {
        /// The directory.
        path: PathBuf,
        /// Why it can not be made.
        source: io::Error,
    },
    /// The stack.
    #[error("starting the stack")]
    Start(#[source] Box<local::StackError>),
    /// A name that no policy can have.
    #[error("letting jobs use what the command line gives")]
    Allow(#[source] local::PolicyError),
    /// A bucket that the functions could not reach.
    #[error(
        "the functions of the stack do not reach the bucket `{bucket}`: `{}` and `{}` only",
        known[0],
        known[1]
    )]
    ForeignBucket {
        /// Its name.
        bucket: String,
        /// Those of the stack.
        known: [String; 2],
    },
    /// An upload.
    #[error("uploading `{}` to `s3://{bucket}/{key}`", path.display())]
    Upload {
        /// The file.
        path: PathBuf,
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// Why it is not there.
        source: Box<local::StoreError>,
    },
    /// SQL files that an earlier run uploaded.
    #[error("removing the SQL files of an earlier run from the bucket `{bucket}`")]
    RemoveQueries {
        /// The bucket.
        bucket: String,
        /// Why they are still there.
        source: Box<local::StoreError>,
    },
    /// An object that a run made.
    #[error("reading `{uri}`")]
    ReadObject {
        /// The object.
        uri: String,
        /// Why it can not be read.
        source: local::StoreError,
    },
    /// A file for the user.
    #[error("writing `{}`", path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// Why it can not be written.
        source: io::Error,
    },
    /// The endpoint did not answer.
    #[error("{doing}")]
    Request {
        /// The method and the URL.
        doing: String,
        /// Why there is no answer.
        source: reqwest::Error,
    },
    /// The endpoint answered with what this command does not know.
    #[error("{doing}: unexpected answer {status}: {text}")]
    Answer {
        /// The method and the URL.
        doing: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        text: String,
    },
    /// Sample data.
    #[error("writing the sample data")]
    Sample(#[source] local_athena::SampleError),
    /// The size of a file that was written.
    #[error("looking at `{}`", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Why it can not be looked at.
        source: io::Error,
    },
    /// A view that can not be printed.
    #[error("writing the run as JSON")]
    Json(#[source] serde_json::Error),
    /// The standard output is gone.
    #[error("writing to the standard output")]
    Write(#[source] io::Error),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted; everything is stopped")]
    Interrupted,
}

impl Error {
    /// What the process ends with for it.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::ReadJob { .. }
            | Self::ReadSecret { .. }
            | Self::PutSecret { .. }
            | Self::ParseJob { .. }
            | Self::RefusedJob(_)
            | Self::ReadQueries { .. }
            | Self::QueryPath { .. }
            | Self::Allow(_)
            | Self::ForeignBucket { .. }
            | Self::NoQueries { .. } => Exit::Refused,
            Self::ReadStack { .. }
            | Self::FollowStack { .. }
            | Self::MakeDirectory { .. }
            | Self::Start(_) => Exit::NotStarted,
            Self::Interrupted => Exit::Interrupted,
            Self::Executable(_)
            | Self::Upload { .. }
            | Self::RemoveQueries { .. }
            | Self::ReadObject { .. }
            | Self::WriteFile { .. }
            | Self::Request { .. }
            | Self::Answer { .. }
            | Self::Sample(_)
            | Self::Size { .. }
            | Self::Json(_)
            | Self::Write(_) => Exit::Broken,
        }
    }
}
