//! HTTP: one request, one answer, and a limit for every wait.
//!
//! `hyper` and not `reqwest`: what is needed is small, its errors do not carry addresses, and
//! `rustls` gets `ring` here without a choice for the whole process.

mod body;

use std::{error::Error as StdError, future::Future, io, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, StatusCode,
    body::Incoming,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use job::{error::Chain, transport::ShareFileConfig};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep_until};

pub(super) use self::body::Content;
use self::body::{Body, Flow};
use super::address::Address;
use crate::error::Error;

/// The most that is read of an answer. Those to the requests made here have a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How many times longer than for another answer is waited for one to the end of an upload, because
/// the recipient may put the file together first.
const FINISH_PATIENCE: u32 = 5;

/// Sends requests.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    idle: Duration,
    /// When every request is given up.
    until: Instant,
}

/// What is asked for.
pub(super) struct Request<'a> {
    /// What is being done to what, for errors.
    pub(super) action: &'a str,
    pub(super) method: Method,
    pub(super) address: &'a Address,
    pub(super) token: Option<&'a SecretString>,
    pub(super) content: Content,
    /// Whether the answer may take its time.
    pub(super) is_finish: bool,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Http {
    /// A client that gives up every request at `until`.
    pub(super) fn new(config: &ShareFileConfig, until: Instant) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connect = Duration::from_secs(config.sharefile_connect_timeout_s.get().into());
        tcp.set_connect_timeout(Some(connect));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| Error::Unsupported {
                action: "reading the certificates that this machine trusts".to_owned(),
                message: error.to_string(),
            })?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        let idle = Duration::from_secs(config.sharefile_idle_timeout_s.get().into());
        Ok(Self { client, idle, until })
    }

    /// When every request is given up.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Sends `request` and reads the answer, whatever it is.
    ///
    /// # Errors
    ///
    /// When there is no answer, or when the source of the content breaks.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<Answer, Error> {
        let Request { action, method, address, token, content, is_finish } = request;
        let uri = address.uri().map_err(|fault| Error::Unsupported {
            action: action.to_owned(),
            message: fault.to_owned(),
        })?;
        let flow = Arc::new(Flow::new());
        let mut builder = hyper::Request::builder()
            .method(method)
            .uri(uri)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("athena-workflow/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_LENGTH, content.size_bytes());
        if let Some(kind) = content.kind() {
            builder = builder.header(CONTENT_TYPE, kind);
        }
        if let Some(token) = token {
            builder = builder.header(AUTHORIZATION, bearer(token, action)?);
        }
        let built = builder.body(content.into_body(flow.clone())).map_err(|_| {
            Error::Unsupported { action: action.to_owned(), message: "it is no request".to_owned() }
        })?;
        let patience = if is_finish { self.idle * FINISH_PATIENCE } else { self.idle };
        let wait = Wait { http: self, action, address, flow: &flow, patience };
        let exchanged = wait.watch(self.exchange(built, &flow)).await?;
        exchanged.map_err(|trouble| match flow.take_broken_source() {
            Some(error) => Error::Storage(error),
            None => trouble.into_error(action, address),
        })
    }

    async fn exchange(
        &self,
        request: hyper::Request<Body>,
        flow: &Flow,
    ) -> Result<Answer, Interruption> {
        let answer = self.client.request(request).await.map_err(Interruption::Client)?;
        let (head, mut incoming): (_, Incoming) = answer.into_parts();
        let mut body = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            flow.moved();
            if let Ok(data) = frame.map_err(Interruption::Body)?.into_data() {
                if body.len() + data.len() > ANSWER_BYTES_MAX {
                    return Err(Interruption::TooLong);
                }
                body.extend_from_slice(&data);
            }
        }
        Ok(Answer { status: head.status, headers: head.headers, body: body.freeze() })
    }
}

fn bearer(token: &SecretString, action: &str) -> Result<HeaderValue, Error> {
    let text = format!("Bearer {}", token.expose_secret());
    let mut value = HeaderValue::try_from(text).map_err(|_| Error::Unsupported {
        action: action.to_owned(),
        message: "the token that ShareFile gave can not be sent".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A wait for an answer.
struct Wait<'a> {
    http: &'a Http,
    action: &'a str,
    address: &'a Address,
    flow: &'a Flow,
    patience: Duration,
}

impl Wait<'_> {
    /// Waits for `exchange` as long as something moves and there is time.
    async fn watch<T>(&self, exchange: impl Future<Output = T>) -> Result<T, Error> {
        let mut exchange = pin!(exchange);
        loop {
            let patience_ends = self.flow.last_moved() + self.patience;
            let wakes = patience_ends.min(self.http.until);
            tokio::select! {
                result = &mut exchange => return Ok(result),
                () = sleep_until(wakes) => {}
            }
            if Instant::now() >= self.http.until {
                return Err(Error::OutOfTime { action: self.action.to_owned() });
            }
            if self.flow.last_moved() + self.patience <= Instant::now() {
                return Err(Error::TimedOut {
                    action: self.action.to_owned(),
                    server: self.address.host(),
                    seconds: self.patience.as_secs(),
                });
            }
        }
    }
}

/// Why there is no answer.
enum Interruption {
    Client(hyper_util::client::legacy::Error),
    Body(hyper::Error),
    TooLong,
}

impl Interruption {
    fn into_error(self, action: &str, address: &Address) -> Error {
        let lost = |error: &(dyn StdError + 'static)| Error::ConnectionLost {
            action: action.to_owned(),
            server: address.host(),
            reason: Chain(error).to_string(),
        };
        match self {
            Self::Client(error) if is_distrust(&error) => {
                Error::NotTrusted { server: address.host(), source: Box::new(error) }
            }
            Self::Client(error) if error.is_connect() => {
                Error::Connect { server: address.host(), source: Box::new(error) }
            }
            Self::Client(error) => lost(&error),
            Self::Body(error) => lost(&error),
            Self::TooLong => Error::Unsupported {
                action: action.to_owned(),
                message: format!("its answer is longer than {ANSWER_BYTES_MAX} bytes"),
            },
        }
    }
}

/// Whether the server's certificate is the reason. Another try would find the same one.
fn is_distrust(error: &(dyn StdError + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // It does not count what it holds among its causes.
        return error.get_ref().is_some_and(|held| is_distrust(held));
    }
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
        || error.source().is_some_and(is_distrust)
}
