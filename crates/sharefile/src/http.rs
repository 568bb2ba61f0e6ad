//! HTTP: one request, one response, and a limit for every wait.
//!
//! `hyper` and not `reqwest`: the need is small, its errors do not carry addresses, and `rustls` gets
//! `ring` here without a choice for the whole process.

mod body;

use std::{
    error::Error as StdError,
    future::Future,
    io,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, StatusCode,
    body::Incoming,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use job::{error::Chain, transport::ShareFileConfig};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep_until};

pub(crate) use self::body::Payload;
use self::body::{Activity, Body};
use crate::{
    address::Address,
    error::{Cause, Error},
};

/// The most bytes that are read of a response. Those to our requests have a few hundred.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Factor on the idle timeout for the end of an upload: ShareFile may put the file together first.
const FINISH_FACTOR: u32 = 5;

/// Sends requests.
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    idle: Duration,
    /// Every request is given up then.
    until: Instant,
}

/// A request.
pub(crate) struct Request<'a> {
    /// The action for errors.
    pub(crate) action: &'a str,
    pub(crate) method: Method,
    pub(crate) address: &'a Address,
    pub(crate) token: Option<&'a SecretString>,
    pub(crate) payload: Payload,
    /// Whether the response may take longer.
    pub(crate) is_finish: bool,
}

/// Reads the certificates that this machine trusts. That blocks for long enough to do it once in a
/// process.
pub(crate) fn trusted() -> Result<ClientConfig, Error> {
    static TRUSTED: OnceLock<ClientConfig> = OnceLock::new();
    if let Some(config) = TRUSTED.get() {
        return Ok(config.clone());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |source: Cause| Error::Certificates { source };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.into()))?
        .with_native_roots()
        .map_err(|error| unusable(error.into()))?;
    Ok(TRUSTED.get_or_init(|| config.with_no_client_auth()).clone())
}

/// A request without a response.
pub(crate) struct Unanswered {
    pub(crate) error: Error,
    /// Whether the connection took the whole payload: only then may the request be done.
    pub(crate) is_sent: bool,
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self { error, is_sent: false }
    }
}

/// A response.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Http {
    /// Makes a client that gives up every request at `until`.
    pub(crate) fn new(config: &ShareFileConfig, tls: ClientConfig, until: Instant) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connect = Duration::from_secs(config.sharefile_connect_timeout_s.get().into());
        tcp.set_connect_timeout(Some(connect));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        let idle = Duration::from_secs(config.sharefile_idle_timeout_s.get().into());
        Self { client, idle, until }
    }

    /// Every request is given up then.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// Sends `request` and reads the response, whatever it is.
    ///
    /// # Errors
    ///
    /// When there is no response, or when the source of the payload breaks.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Response, Unanswered> {
        let Request { action, method, address, token, payload, is_finish } = request;
        let uri = address.uri().map_err(|fault| Error::Protocol {
            action: action.to_owned(),
            message: fault.to_owned(),
        })?;
        let activity = Arc::new(Activity::new());
        let mut builder = hyper::Request::builder()
            .method(method)
            .uri(uri)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("athena-workflow/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_LENGTH, payload.size_bytes());
        if let Some(kind) = payload.kind() {
            builder = builder.header(CONTENT_TYPE, kind);
        }
        if let Some(token) = token {
            builder = builder.header(AUTHORIZATION, bearer(token, action)?);
        }
        let built = builder.body(payload.into_body(activity.clone())).map_err(|_| {
            Error::Protocol { action: action.to_owned(), message: "it is no request".to_owned() }
        })?;
        let idle_max = if is_finish { self.idle * FINISH_FACTOR } else { self.idle };
        let wait = Wait { http: self, action, address, activity: &activity, idle_max };
        let exchanged = wait.watch(self.exchange(built, &activity)).await;
        let error = match exchanged {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(interruption)) => match activity.take_broken_source() {
                Some(error) => Error::Storage(error),
                None => interruption.into_error(action, address),
            },
            Err(error) => error,
        };
        Err(Unanswered { error, is_sent: activity.is_sent() })
    }

    async fn exchange(
        &self,
        request: hyper::Request<Body>,
        activity: &Activity,
    ) -> Result<Response, Interruption> {
        let answer = self.client.request(request).await.map_err(Interruption::Client)?;
        let (head, mut incoming): (_, Incoming) = answer.into_parts();
        let mut body = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            activity.moved();
            if let Ok(data) = frame.map_err(Interruption::Body)?.into_data() {
                if body.len() + data.len() > ANSWER_BYTES_MAX {
                    return Err(Interruption::TooLong);
                }
                body.extend_from_slice(&data);
            }
        }
        Ok(Response { status: head.status, headers: head.headers, body: body.freeze() })
    }
}

fn bearer(token: &SecretString, action: &str) -> Result<HeaderValue, Error> {
    let text = format!("Bearer {}", token.expose_secret());
    let mut value = HeaderValue::try_from(text).map_err(|_| Error::Protocol {
        action: action.to_owned(),
        message: "the token that ShareFile gave cannot be sent".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A wait for a response.
struct Wait<'a> {
    http: &'a Http,
    action: &'a str,
    address: &'a Address,
    activity: &'a Activity,
    idle_max: Duration,
}

impl Wait<'_> {
    /// Waits for `exchange` as long as something moves and there is time.
    async fn watch<T>(&self, exchange: impl Future<Output = T>) -> Result<T, Error> {
        let mut exchange = pin!(exchange);
        loop {
            let idle_ends = self.activity.last_moved() + self.idle_max;
            let wakes = idle_ends.min(self.http.until);
            tokio::select! {
                result = &mut exchange => return Ok(result),
                () = sleep_until(wakes) => {}
            }
            if Instant::now() >= self.http.until {
                return Err(Error::TimeUp { action: self.action.to_owned() });
            }
            if self.activity.last_moved() + self.idle_max <= Instant::now() {
                return Err(Error::TimedOut {
                    action: self.action.to_owned(),
                    server: self.address.host(),
                    seconds: self.idle_max.as_secs(),
                });
            }
        }
    }
}

/// The reason why there is no response.
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
            Self::TooLong => Error::Protocol {
                action: action.to_owned(),
                message: format!("it is longer than {ANSWER_BYTES_MAX} bytes"),
            },
        }
    }
}

/// Returns whether the server's certificate is the reason. Another try would find the same one.
fn is_distrust(error: &(dyn StdError + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // It does not count what it holds among its causes.
        return error.get_ref().is_some_and(|held| is_distrust(held));
    }
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
        || error.source().is_some_and(is_distrust)
}
