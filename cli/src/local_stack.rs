//! The stack on this machine: its configuration, and `athena-workflow local`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use job::Prefix;
use local::{
    Deployment, Endpoints, PolicyError, ShareFileConfig, Stack, StackConfig,
    deployment::{Api, Authorization},
};

use crate::{
    Error, Exit, Place, Terminal,
    args::{LocalArgs, SecretFile, StackArgs, loopback},
    queries, schedules,
};

/// The configuration of a stack on free ports that keeps its files in `work_dir`.
///
/// The directories are absolute, because the functions run in others.
///
/// # Errors
///
/// When the current directory is gone, or the file of the stack can not be followed.
pub fn config(
    args: &StackArgs,
    work_dir: &Path,
    place: &Place,
    terminal: &mut Terminal<'_>,
) -> Result<StackConfig, Error> {
    let functions_dir = args.functions.as_ref().unwrap_or(&place.functions_dir);
    let mut config = StackConfig::new(
        absolute(work_dir)?,
        absolute(&args.data)?,
        absolute(&args.out)?,
        absolute(functions_dir)?,
    );
    config.sftp_user.clone_from(&args.sftp_user);
    config.sftp_password = args.sftp_password.clone();
    config.log_filter.clone_from(&args.log_filter);
    if let Some(path) = &args.stack {
        config.deployment = deployment(path)?;
    }
    let deployment = &mut config.deployment;
    let databases = local::databases(&args.data);
    note_what_is_new("databases", &databases, |name| deployment.let_read_database(name), terminal)?;
    let secrets: Vec<_> = args.secrets.iter().map(|secret| secret.name.clone()).collect();
    note_what_is_new("secrets", &secrets, |name| deployment.let_use_secret(name), terminal)?;
    Ok(config)
}

/// Lets jobs use what the command line gives, and says what they could not use on AWS without the
/// setting.
fn note_what_is_new(
    setting: &str,
    names: &[String],
    mut let_use: impl FnMut(&str) -> Result<bool, PolicyError>,
    terminal: &mut Terminal<'_>,
) -> Result<(), Error> {
    let mut new = Vec::new();
    for name in names {
        if let_use(name).map_err(Error::Allow)? {
            new.push(format!("`{name}`"));
        }
    }
    if !new.is_empty() {
        let new = new.join(", ");
        terminal.note(format_args!(
            "jobs may use {new} here; on AWS the stack's setting `{setting}` would have to name it"
        ));
    }
    Ok(())
}

/// Refuses buckets that the functions of the stack could not reach.
///
/// # Errors
///
/// When there is one.
pub fn check_buckets(
    deployment: &Deployment,
    buckets: impl IntoIterator<Item = String>,
) -> Result<(), Error> {
    let known = [&deployment.queries_bucket, &deployment.results_bucket];
    let foreign = buckets.into_iter().find(|bucket| !known.contains(&bucket));
    foreign.map_or(Ok(()), |bucket| {
        Err(Error::ForeignBucket { bucket, known: known.map(String::clone) })
    })
}

/// What a file says is deployed.
fn deployment(path: &Path) -> Result<Deployment, Error> {
    let text = fs::read_to_string(path)
        .map_err(|source| Error::ReadStack { path: path.to_owned(), source })?;
    Deployment::parse(&text).map_err(|source| Error::FollowStack { path: path.to_owned(), source })
}

/// Puts the secrets in place that jobs may name.
///
/// # Errors
///
/// When a file can not be read as text, or the store does not take it.
pub fn put_secrets(stack: &Stack, secrets: &[SecretFile]) -> Result<(), Error> {
    for SecretFile { name, path } in secrets {
        let text = fs::read_to_string(path)
            .map_err(|source| Error::ReadSecret { path: path.clone(), source })?;
        let put = match name.strip_prefix("ssm:") {
            Some(parameter) => stack.secrets().put_parameter(parameter, text),
            None => stack.secrets().put_secret(name, text).map(drop),
        };
        put.map_err(|source| Error::PutSecret { name: name.clone(), source })?;
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path)
        .map_err(|source| Error::MakeDirectory { path: path.to_owned(), source })
}

/// Starts a stack and keeps it until `interrupted` comes, which is how it is meant to end.
///
/// # Errors
///
/// When it can not start, or the queries can not be uploaded.
pub async fn serve(
    args: &LocalArgs,
    place: &Place,
    terminal: &mut Terminal<'_>,
    interrupted: impl Future<Output = ()>,
) -> Result<Exit, Error> {
    let files = args.queries.as_deref().map(queries::find).transpose()?;
    let mut config = config(&args.stack, &args.work_dir, place, terminal)?;
    check_buckets(&config.deployment, args.bucket.as_ref().map(ToString::to_string))?;
    config.aws_address = loopback(args.port);
    config.api_address = loopback(args.api_port);
    config.sftp_address = loopback(args.sftp_port);
    config.sharefile =
        Some(ShareFileConfig { address: loopback(args.sharefile_port), ..Default::default() });

    config.schedules_since = args.schedules.then(Timestamp::now);

    tokio::pin!(interrupted);
    let stack = tokio::select! {
        biased;
        () = &mut interrupted => return Err(Error::Interrupted),
        stack = Stack::start(config) => stack.map_err(|error| Error::Start(Box::new(error)))?,
    };
    let served = tokio::select! {
        biased;
        () = &mut interrupted => Err(Error::Interrupted),
        ready = make_ready(args, &stack, files, terminal) => ready,
    };
    if served.is_ok() {
        tokio::select! {
            biased;
            () = &mut interrupted => {}
            () = schedules::fire(&stack, terminal) => {}
        }
    }
    terminal.note("stopping");
    stack.shutdown().await;
    served.map(|()| Exit::Success)
}

/// Uploads what is to be uploaded, and prints how the stack is reached.
async fn make_ready(
    args: &LocalArgs,
    stack: &Stack,
    files: Option<Vec<queries::QueryFile>>,
    terminal: &mut Terminal<'_>,
) -> Result<(), Error> {
    put_secrets(stack, &args.stack.secrets)?;
    if let Some(files) = files {
        let prefix = Prefix::from(args.prefix.clone());
        let own = &stack.deployment().queries_bucket;
        let bucket = args.bucket.as_ref().map_or(own.as_str(), job::BucketName::as_str);
        queries::upload(stack.store(), bucket, &prefix, &files).await?;
        terminal.result(format!("{} files uploaded to s3://{bucket}/{prefix}\n", files.len()))?;
    }
    let guide = guide(stack.deployment(), stack.endpoints(), args, stack.objects_dir());
    terminal.result(guide)
}

/// How a running stack is reached. The password is not shown.
fn guide(
    deployment: &Deployment,
    endpoints: &Endpoints,
    args: &LocalArgs,
    objects_dir: &Path,
) -> String {
    let LocalArgs { stack: args, schedules, .. } = args;
    let schedules = schedules::guide(&deployment.schedules, *schedules);
    let Deployment { region, queries_bucket, results_bucket, .. } = deployment;
    let Endpoints { aws, api, sftp, sftp_host_key, sharefile, state_machine_arn } = endpoints;
    let sharefile = sharefile.as_deref().unwrap_or("none");
    let callers = callers(&deployment.api);
    let (user, port) = (&args.sftp_user, sftp.port());
    let (out, objects) = (args.out.display(), objects_dir.display());
    format!(
        "\
The stack runs; Ctrl-C stops it.

AWS (S3, Athena, Lambda, Step Functions, Secrets Manager, SSM)  {aws}
  export AWS_ENDPOINT_URL={aws} AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test \\
    AWS_REGION={region} AWS_DEFAULT_REGION={region}
  aws s3 cp --recursive sql s3://{queries_bucket}/queries/
  aws stepfunctions list-executions --state-machine-arn {state_machine_arn}
  state machine  {state_machine_arn}
  buckets        {queries_bucket}, {results_bucket}
  objects        {objects}

{schedules}

Jobs  {api}
  curl -i {api}/jobs -H 'content-type: application/json' -d @job.json
  curl {api}/jobs/RUN_ID
  Whoever reaches the port may call it; on AWS {callers}.
  A job is delivered to the server that it names; to try one, name one of those below.

SFTP  {sftp}
  sftp -P {port} {user}@{host}
  user         {user}
  password     the one of --sftp-password [default: partner]
  fingerprint  {sftp_host_key}
  files        {out}

ShareFile  {sharefile}
  sharefile_endpoint, with client_id, client_secret, username and password all `partner`
  files        {out}/sharefile",
        host = sftp.ip(),
    )
}

/// Who may call an API on AWS.
fn callers(api: &Api) -> String {
    let callers: BTreeSet<&str> = api
        .routes
        .iter()
        .map(|route| match route.authorization {
            Authorization::Open => "everybody",
            Authorization::Iam => "only whom IAM allows it",
            Authorization::Jwt => "only who brings a token",
        })
        .collect();
    Vec::from_iter(callers).join(" or ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    #[test]
    fn the_guide_has_every_endpoint_and_no_password() {
        let line = "athena-workflow local --data d --out delivered --sftp-user acme --sftp-password hunter2";
        let Command::Local(args) = Args::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("local")
        };
        let endpoints = Endpoints {
            aws: "http://127.0.0.1:4566".to_owned(),
            api: "http://127.0.0.1:8080".to_owned(),
            sftp: loopback(2222),
            sftp_host_key: "SHA256:abc".to_owned(),
            sharefile: Some("http://127.0.0.1:8443".to_owned()),
            state_machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:w".to_owned(),
        };
        let expected = "\
The stack runs; Ctrl-C stops it.

AWS (S3, Athena, Lambda, Step Functions, Secrets Manager, SSM)  http://127.0.0.1:4566
  export AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test \\
    AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
  aws s3 cp --recursive sql s3://athena-workflow-dev-queries/queries/
  aws stepfunctions list-executions --state-machine-arn arn:aws:states:us-east-1:000000000000:stateMachine:w
  state machine  arn:aws:states:us-east-1:000000000000:stateMachine:w
  buckets        athena-workflow-dev-queries, athena-workflow-dev-results
  objects        work/s3

Schedules, which start nothing without --schedules
  all-reports-weekly       rate(7 days)
  pricing-summary-nightly  cron(30 2 * * ? *)

Jobs  http://127.0.0.1:8080
  curl -i http://127.0.0.1:8080/jobs -H 'content-type: application/json' -d @job.json
  curl http://127.0.0.1:8080/jobs/RUN_ID
  Whoever reaches the port may call it; on AWS only whom IAM allows it.
  A job is delivered to the server that it names; to try one, name one of those below.

SFTP  127.0.0.1:2222
  sftp -P 2222 acme@127.0.0.1
  user         acme
  password     the one of --sftp-password [default: partner]
  fingerprint  SHA256:abc
  files        delivered

ShareFile  http://127.0.0.1:8443
  sharefile_endpoint, with client_id, client_secret, username and password all `partner`
  files        delivered/sharefile";
        let deployment = Deployment::dev();
        let guide = guide(&deployment, &endpoints, &args, Path::new("work/s3"));
        assert_eq!(guide, expected);
    }
}
