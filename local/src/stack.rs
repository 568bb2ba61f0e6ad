//! The stack: started, looked at, stopped.

mod aws;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Router, extract::Request, response::Response, serve::ListenerExt as _};
use jiff::Timestamp;
use local_athena::Athena;
use local_events::Bus;
use local_iam::{AccessKey, Assumer, Call, Guard, Refusal};
use local_lambda::{HttpApi, HttpApiError, Lambda, Route};
use local_s3::{Credentials, Store, StoreError};
use local_scheduler::{Firing, Schedule, Scheduler};
use local_secrets::SecretStores;
use local_sftp::Server;
use local_states::{StartError, StepFunctions};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::ServiceExt as _;

use crate::{Deployment, ShareFileConfig, StackConfig, deployment};
use aws::AwsServices;

/// The one access key of the stack, and its secret.
const ACCESS_KEY: (&str, &str) = ("test", "test");

/// Why the stack did not start.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// There are no tables.
    #[error("the data directory `{0}` does not exist")]
    NoData(PathBuf),
    /// A directory could not be made.
    #[error("making the directory `{path}`")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A port is not free.
    #[error("listening at {address} for {what}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// For what.
        what: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// The object store could not be opened.
    #[error("opening the object store")]
    Store(#[from] StoreError),
    /// A function can not run.
    #[error("preparing the functions")]
    Lambda(#[from] local_lambda::Error),
    /// The HTTP API's routes are wrong.
    #[error("preparing the HTTP API")]
    HttpApi(#[from] HttpApiError),
    /// A service may not take the role that it is to act in.
    #[error("taking a role")]
    Role(#[from] Refusal),
    /// The workflow is not a valid state machine.
    #[error("creating the state machine")]
    Definition(#[from] local_states::DefinitionError),
    /// The SFTP server did not start.
    #[error("starting the SFTP server")]
    Sftp(#[from] local_sftp::Error),
    /// The ShareFile account did not start.
    #[error("starting the ShareFile account")]
    ShareFile(#[from] local_sharefile::Error),
}

/// Why a schedule starts no run.
#[derive(Debug, thiserror::Error)]
pub enum FiringError {
    /// Its role does not let it.
    #[error("starting a run in the schedule's role")]
    Denied(#[from] Refusal),
    /// Step Functions does not take its input.
    #[error("starting a run")]
    Start(#[from] StartError),
}

/// Where the stack can be reached.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// All AWS endpoints: `http://127.0.0.1:PORT`.
    pub aws: String,
    /// The HTTP API: `http://127.0.0.1:PORT`.
    pub api: String,
    /// The SFTP server.
    pub sftp: SocketAddr,
    /// The SFTP server's host key: `SHA256:…`.
    pub sftp_host_key: String,
    /// The ShareFile account's API, if there is one: `http://127.0.0.1:PORT`.
    pub sharefile: Option<String>,
    /// The ARN of the state machine.
    pub state_machine_arn: String,
}

/// A running stack.
pub struct Stack {
    deployment: Deployment,
    endpoints: Endpoints,
    store: Store,
    objects_dir: PathBuf,
    athena: Athena,
    lambda: Lambda,
    step_functions: Arc<StepFunctions>,
    events: Bus,
    secrets: SecretStores,
    guard: Arc<Guard>,
    sftp: Server,
    sharefile: Option<local_sharefile::Server>,
    scheduler: Option<Mutex<Scheduler>>,
    /// What schedules act with, by the ARNs of their roles.
    schedule_keys: BTreeMap<String, AccessKey>,
    servers: Vec<JoinHandle<()>>,
}

impl Stack {
    /// Starts everything; when it returns, every endpoint answers.
    ///
    /// # Errors
    ///
    /// See [`StackError`]; nothing keeps running then.
    pub async fn start(config: StackConfig) -> Result<Self, StackError> {
        if !config.data_dir.is_dir() {
            return Err(StackError::NoData(config.data_dir));
        }
        let objects_dir = config.work_dir.join("s3");
        let log_dir = config.work_dir.join("logs");
        for path in [&objects_dir, &log_dir, &config.delivery_dir] {
            make_directory(path)?;
        }
        let aws_listener = listen(config.aws_address, "the AWS endpoints").await?;
        let api_listener = listen(config.api_address, "the HTTP API").await?;
        let aws = url(&aws_listener);
        let api = url(&api_listener);

        let store = Store::open(&objects_dir).await?;
        for bucket in &config.deployment.buckets {
            store.create_bucket_with(&bucket.name, bucket.settings).await?;
        }
        let AwsServices {
            athena,
            secrets,
            guard,
            lambda,
            function_keys,
            events,
            step_functions,
            state_machine_arn,
        } = AwsServices::connect(&config, &store, &aws, log_dir)?;
        let schedule_keys = schedule_keys(&config.deployment.schedules, &guard)?;
        let http_api = http_api(&config.deployment.api, &lambda, &guard)?;
        let sharefile = match config.sharefile {
            Some(sharefile) => Some(start_sharefile(sharefile, &config.delivery_dir).await?),
            None => None,
        };
        let sftp = Server::start(local_sftp::Config {
            root: config.delivery_dir,
            user: config.sftp_user,
            password: config.sftp_password,
            authorized_keys: Vec::new(),
            host_key_file: Some(config.work_dir.join("sftp_host_key")),
            address: config.sftp_address,
            faults: config.sftp_faults,
        })
        .await?;

        let gateway = guard.protect(gateway(
            &athena,
            &step_functions,
            &secrets,
            &lambda,
            &store,
            &function_keys,
        ));
        let servers = vec![
            tokio::spawn(serve(aws_listener, gateway)),
            tokio::spawn(serve(api_listener, http_api)),
        ];
        let endpoints = Endpoints {
            aws,
            api,
            sftp: sftp.address(),
            sftp_host_key: sftp.host_key_fingerprint().to_owned(),
            sharefile: sharefile.as_ref().map(local_sharefile::Server::url),
            state_machine_arn,
        };
        let scheduler = config
            .schedules_since
            .map(|since| Mutex::new(Scheduler::new(config.deployment.schedules.clone(), since)));
        Ok(Self {
            deployment: config.deployment,
            endpoints,
            store,
            objects_dir,
            athena,
            lambda,
            step_functions,
            events,
            secrets,
            guard,
            sftp,
            sharefile,
            scheduler,
            schedule_keys,
            servers,
        })
    }

    /// What is deployed.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Where the stack can be reached.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The objects in S3.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where objects are as plain files: `DIR/<bucket>/<key>`, for keys that can be paths.
    pub fn objects_dir(&self) -> &Path {
        &self.objects_dir
    }

    /// The ShareFile account, to see what it was asked for.
    pub fn sharefile(&self) -> Option<&local_sharefile::Server> {
        self.sharefile.as_ref()
    }

    /// Athena, to make it fail on demand.
    pub fn athena(&self) -> &Athena {
        &self.athena
    }

    /// Lambda, to see what was used.
    pub fn lambda(&self) -> &Lambda {
        &self.lambda
    }

    /// The event bus, to see what was on it and to disturb it.
    pub fn events(&self) -> &Bus {
        &self.events
    }

    /// The secrets, to put some and to make reading them fail.
    pub fn secrets(&self) -> &SecretStores {
        &self.secrets
    }

    /// The SFTP server, to see who came.
    pub fn sftp(&self) -> &Server {
        &self.sftp
    }

    /// When a schedule fires next.
    pub fn next_firing(&self) -> Option<Timestamp> {
        lock(self.scheduler.as_ref()?).next()
    }

    /// What the schedules fire up to `now` and was not told yet, for
    /// [`start_scheduled`](Self::start_scheduled).
    pub fn due(&self, now: Timestamp) -> Vec<Firing> {
        self.scheduler.as_ref().map(|scheduler| lock(scheduler).due(now)).unwrap_or_default()
    }

    /// Starts a run as a schedule does, in its role and past the API, and answers the ARN of the
    /// execution. The input is that of a firing, or what stands in for it on a laptop.
    ///
    /// # Errors
    ///
    /// When the role does not allow it, or Step Functions does not take `input`.
    pub fn start_scheduled(&self, schedule: &Schedule, input: &str) -> Result<String, FiringError> {
        let state_machine = &self.endpoints.state_machine_arn;
        let key = self.schedule_keys.get(&schedule.role_arn).ok_or(Refusal::UnknownKey)?;
        self.guard.authorize(&key.id, &[Call::new("states:StartExecution", state_machine)])?;
        Ok(self.step_functions.start_execution(state_machine, None, input)?)
    }

    /// The guard, to see which rights were used.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Stops everything, the functions' processes first.
    pub async fn shutdown(self) {
        self.step_functions.shut_down();
        self.events.shut_down().await;
        self.lambda.shutdown().await;
        for server in self.servers {
            server.abort();
        }
        self.sftp.stop().await;
        if let Some(sharefile) = self.sharefile {
            sharefile.stop().await;
        }
    }
}

/// A scheduler that a panic elsewhere has not made useless: nothing it does breaks off half way.
fn lock(scheduler: &Mutex<Scheduler>) -> MutexGuard<'_, Scheduler> {
    scheduler.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the role of each schedule, as EventBridge Scheduler does to see that it can.
fn schedule_keys(
    schedules: &[Schedule],
    guard: &Guard,
) -> Result<BTreeMap<String, AccessKey>, Refusal> {
    let keys = schedules.iter().map(|schedule| {
        let key =
            guard.assume(Assumer::ScheduleGroup(&schedule.group_arn()), &schedule.role_arn)?;
        Ok((schedule.role_arn.clone(), key))
    });
    keys.collect()
}

/// One address for all of AWS: the request says whom it is for, as it does to a VPC endpoint.
fn gateway(
    athena: &Athena,
    step_functions: &StepFunctions,
    secrets: &SecretStores,
    lambda: &Lambda,
    store: &Store,
    keys: &[AccessKey],
) -> Router {
    let athena = local_athena::router(athena.clone());
    let step_functions = local_states::router(step_functions.clone());
    let secrets = local_secrets::router(secrets.clone());
    let (access_key, secret_key) = ACCESS_KEY;
    let mut accepted = vec![Credentials::new(access_key, secret_key)];
    accepted.extend(keys.iter().map(|key| Credentials::new(key.id.clone(), key.secret.clone())));
    let s3 = local_s3::fallback(store.clone(), &accepted);
    let lambda = local_lambda::router(lambda.clone());
    Router::new().fallback(move |request: Request| {
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let service = match target.and_then(|target| target.split_once('.')) {
            Some(("AmazonAthena", _)) => athena.clone(),
            Some(("AWSStepFunctions", _)) => step_functions.clone(),
            Some(("secretsmanager" | "AmazonSSM", _)) => secrets.clone(),
            _ if request.uri().path().starts_with("/2015-03-31/functions") => lambda.clone(),
            _ => s3.clone(),
        };
        answer(service, request)
    })
}

/// The HTTP API as it is deployed, but for who may call it: whoever reaches the port may. What a
/// route asks for on AWS is in its `authorization`, and would be checked in front of this.
fn http_api(
    deployed: &deployment::Api,
    lambda: &Lambda,
    guard: &Guard,
) -> Result<Router, HttpApiError> {
    let routes = deployed.routes.iter().map(|deployed| {
        let route = Route::new(&deployed.key, &deployed.function)?;
        let call = Call::new("lambda:InvokeFunction", lambda.arn(&deployed.function));
        let decided = guard.authorize_service("apigateway.amazonaws.com", &deployed.arn, call);
        Ok(if decided.is_ok() { route } else { route.without_permission() })
    });
    let api = HttpApi {
        integration_timeout: Duration::from_millis(deployed.timeout_milliseconds),
        ..HttpApi::new(&deployed.id, routes.collect::<Result<_, HttpApiError>>()?)
    };
    local_lambda::http_api_router(lambda.clone(), api)
}

/// Unfinished uploads are in the same file system as the folders, so that a file appears at once.
async fn start_sharefile(
    config: ShareFileConfig,
    delivery_dir: &Path,
) -> Result<local_sharefile::Server, local_sharefile::Error> {
    local_sharefile::Server::start(local_sharefile::Config {
        root: delivery_dir.join("sharefile"),
        uploads: delivery_dir.join(".sharefile-uploads"),
        accounts: vec![config.account],
        address: config.address,
        faults: config.faults,
    })
    .await
}

async fn answer(service: Router, request: Request) -> Response {
    match service.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn serve(listener: TcpListener, router: Router) {
    // Without it, small answers wait for the acknowledgement of the ones before them.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, service).await {
        tracing::error!(%error, "an endpoint stopped");
    }
}

async fn listen(address: SocketAddr, what: &'static str) -> Result<TcpListener, StackError> {
    TcpListener::bind(address).await.map_err(|source| StackError::Listen { address, what, source })
}

fn url(listener: &TcpListener) -> String {
    let address = listener.local_addr().expect("a bound listener has an address");
    format!("http://{address}")
}

fn make_directory(path: &Path) -> Result<(), StackError> {
    std::fs::create_dir_all(path)
        .map_err(|source| StackError::Directory { path: path.to_owned(), source })
}
