//! AWS Lambda on a laptop: the Invoke API, the Runtime API, and an HTTP API in front.
//!
//! [`Lambda`] runs the very binaries that are deployed to the `provided.al2023` runtime. Every process
//! gets its own Runtime API on `127.0.0.1`, handles one invocation at a time, stays warm for the next
//! one, and is killed when it outlasts its time-out. What a caller sees of a crash, a time-out, a failed
//! initialisation or a response that is too large is the payload that AWS sends.
//!
//! [`router`] speaks the Invoke API, so that SDKs and the AWS CLI can call a function;
//! [`http_api_router`] is an HTTP API (API Gateway v2, payload format 2.0) over the same functions.
//!
//! ```no_run
//! # async fn serve(load: local_lambda::Function) -> Result<(), Box<dyn std::error::Error>> {
//! use local_lambda::{Config, HttpApi, Lambda, Route, http_api_router};
//!
//! let lambda = Lambda::new(Config::new(vec![load]))?;
//! let answer = lambda.invoke("load", "{}".into(), false).await?;
//! assert!(!answer.function_error);
//!
//! let api = HttpApi::new("local", vec![Route::new("POST /jobs", "load")?]);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! axum::serve(listener, http_api_router(lambda.clone(), api)?).await?;
//! lambda.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! What differs from AWS: memory is not limited, a function reads the laptop's file system, invocations
//! beyond [`Config::processes_max`] wait for a process instead of getting one more, few asynchronous
//! invocations run at a time ([`Config::concurrent_events_max`]), their destinations are told nothing but
//! remembered ([`Lambda::failed_events`]), and no request is authenticated. The crate needs a Unix.

mod asynchronous;
mod body;
mod config;
mod execution;
mod fault;
mod function_name;
mod http_api;
mod invoke_api;
mod invoke_error;
mod lambda;
mod pool;
mod runtime_api;
mod sandbox;
mod transcript;
mod usage;

pub use asynchronous::{EventInvokeConfig, FailedEvent};
pub use config::{Config, Credentials, Error, Function, Problem};
pub use http_api::{HttpApi, HttpApiError, Route, http_api_router};
pub use invoke_api::router;
pub use invoke_error::InvokeError;
pub use lambda::{Invocation, Lambda};
pub use usage::Usage;

/// The largest payload of a synchronous invocation, in bytes.
pub const REQUEST_BYTES_MAX: usize = 6_291_456;
/// The largest payload of an asynchronous invocation, in bytes.
pub const EVENT_BYTES_MAX: usize = 1_048_576;
/// The largest payload that a function may answer with, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 6_291_556;
