//! `athena-workflow run`: one job, from the SQL files to the delivered file.

mod api;
mod job_file;
mod outcome;
mod work_dir;

use std::time::Duration;

use job::{
    name::RunId,
    view::{RunState, RunView},
};
use local::Stack;

pub use self::{
    api::Api,
    job_file::{JobFile, StandIn},
    outcome::{Outcome, Receipt},
    work_dir::WorkDir,
};
use crate::{
    Error, Exit, Place, Terminal,
    args::{Format, RunArgs},
    local_stack,
    progress::Progress,
    queries::{self, QueryFile},
    report,
};

/// How long to wait between two looks at a run.
const POLL_INTERVAL: Duration = Duration::from_millis(150);

/// Runs one job and says how it ended.
///
/// # Errors
///
/// When the job did not get as far as to fail by itself.
pub async fn run(
    args: &RunArgs,
    place: &Place,
    terminal: &mut Terminal<'_>,
    interrupted: impl Future<Output = ()>,
) -> Result<Exit, Error> {
    let job = JobFile::read(&args.job)?;
    let files = queries::find(&args.queries)?;
    let mut work_dir = WorkDir::open(args.work_dir.as_deref())?;
    let mut config = local_stack::config(&args.stack, work_dir.path(), place, terminal)?;
    config.sharefile = job.sharefile();
    local_stack::check_buckets(&config.deployment, job.buckets())?;

    tokio::pin!(interrupted);
    let stack = tokio::select! {
        biased;
        () = &mut interrupted => return Err(Error::Interrupted),
        stack = Stack::start(config) => stack.map_err(|error| Error::Start(Box::new(error)))?,
    };
    let done = tokio::select! {
        biased;
        () = &mut interrupted => Err(Error::Interrupted),
        done = follow_to_the_end(args, &stack, job, &files, terminal) => done,
    };
    stack.shutdown().await;

    let told = done.and_then(|outcome| tell(&outcome, args.format, terminal));
    let traces_help = match &told {
        Ok(exit) => *exit != Exit::Success,
        Err(error) => error.exit() == Exit::Broken,
    };
    if traces_help {
        terminal.note(report::traces(work_dir.keep()));
    }
    told
}

/// Uploads the queries, posts the job, shows its progress, and fetches what it made.
async fn follow_to_the_end(
    args: &RunArgs,
    stack: &Stack,
    mut job: JobFile,
    files: &[QueryFile],
    terminal: &mut Terminal<'_>,
) -> Result<Outcome, Error> {
    let endpoints = stack.endpoints();
    local_stack::put_secrets(stack, &args.stack.secrets)?;
    if let Some((bucket, prefix)) = job.queries() {
        queries::remove_others(stack.store(), bucket.as_str(), &prefix, files).await?;
        queries::upload(stack.store(), bucket.as_str(), &prefix, files).await?;
    }
    if let Some(stand_in) = job.stand_in(endpoints) {
        terminal.note(report::stand_in(&stand_in));
    }

    let api = Api::new(&endpoints.api)?;
    let run_id = api.start(job.document()).await?;
    terminal.note(format_args!("run {run_id}"));
    let view = watch(&api, &run_id, POLL_INTERVAL, &mut Progress::new(terminal)).await?;
    let (out, manifest) = (&args.stack.out, args.manifest.as_deref());
    let layout = job.layout(&run_id);
    Outcome::fetch(view, stack.store(), stack.objects_dir(), out, manifest, layout).await
}

/// Shows how a run goes, until it has ended.
///
/// # Errors
///
/// When the endpoint no longer tells.
pub async fn watch(
    api: &Api,
    run_id: &RunId,
    poll_interval: Duration,
    progress: &mut Progress<'_, '_>,
) -> Result<RunView, Error> {
    loop {
        let view = api.view(run_id).await?;
        progress.show(&view);
        if view.status.is_end() {
            return Ok(view);
        }
        tokio::time::sleep(poll_interval).await;
    }
}

/// Prints how a run ended.
fn tell(outcome: &Outcome, format: Format, terminal: &mut Terminal<'_>) -> Result<Exit, Error> {
    terminal.result(match format {
        Format::Json => serde_json::to_string_pretty(&outcome.view).map_err(Error::Json)?,
        Format::Text => report::queries(&outcome.view),
    })?;
    match (outcome.view.status, format) {
        (RunState::Succeeded, Format::Text) => terminal.result(report::success(outcome))?,
        (RunState::Succeeded, Format::Json) => {}
        (RunState::Running | RunState::Failed | RunState::TimedOut | RunState::Aborted, _) => {
            terminal.note(report::failure(outcome));
        }
    }
    let succeeded = outcome.view.status == RunState::Succeeded;
    Ok(if succeeded { Exit::Success } else { Exit::Failed })
}
