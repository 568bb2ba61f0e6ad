//! The desk that every request of every call passes, and that decides whose turn it is.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{
    AsyncSleep, Credentials, SharedAsyncSleep, SharedCredentialsProvider, Sleep,
    StalledStreamProtectionConfig,
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use tokio::sync::oneshot;

use super::{
    Called, Task,
    services::{Caller, Services},
};

/// A request that waits for its turn.
pub(super) enum Pending {
    /// A request on its way to a service.
    Request { caller: Caller, request: HttpRequest, answer: oneshot::Sender<HttpResponse> },
    /// An answer on its way back.
    Answer { response: HttpResponse, answer: oneshot::Sender<HttpResponse> },
    /// A pause of the SDK before it sends a request again.
    Pause(oneshot::Sender<()>),
    /// A call of a function.
    Call { task: Task, then: Then },
}

/// The outcome of a call.
pub(super) enum Then {
    /// Its end is told to the state that waits for it.
    Tell(oneshot::Sender<Called>),
    /// It is tried again if it fails, so many times in all: an event, or a duplicate.
    Retry { tries: u32 },
}

/// The services, and what waits in front of them.
#[derive(Default)]
pub(super) struct Desk {
    pending: Mutex<Vec<Pending>>,
    services: Mutex<Services>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    pub(super) fn services(&self) -> MutexGuard<'_, Services> {
        self.services.lock().expect("no step panics")
    }

    pub(super) fn push(&self, pending: Pending) {
        self.pending().push(pending);
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.pending.lock().expect("no step panics")
    }

    /// The SDK's configuration of a function.
    pub(super) fn config(self: &Arc<Self>, caller: Caller) -> SdkConfig {
        let connector = SharedHttpConnector::new(Connector { caller, desk: Arc::clone(self) });
        let credentials = Credentials::new("test", "test", None, None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url("http://127.0.0.1")
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .sleep_impl(SharedAsyncSleep::new(Arc::clone(self)))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }
}

impl AsyncSleep for Desk {
    fn sleep(&self, _: Duration) -> Sleep {
        let (sender, receiver) = oneshot::channel();
        self.push(Pending::Pause(sender));
        Sleep::new(async { _ = receiver.await })
    }
}

#[derive(Debug)]
struct Connector {
    caller: Caller,
    desk: Arc<Desk>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (answer, receiver) = oneshot::channel();
        self.desk.push(Pending::Request { caller: self.caller, request, answer });
        HttpConnectorFuture::new(async {
            receiver.await.map_err(|lost| ConnectorError::io(Box::new(lost)))
        })
    }
}
