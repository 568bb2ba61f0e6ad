//! One process of a function, from its start to its end.

mod output;
mod variables;

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::config::Function;
use crate::fault::Fault;
use crate::runtime_api::{Answer, Delivery, RuntimeApi, RuntimeCall};
use crate::transcript::Transcript;
use output::Output;
use variables::Setting;

/// How long a process that reported a failed initialisation may take to end by itself.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(2);

/// A running process and all that belongs to it. Dropping it kills the process and whatever that started.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) transcript: Arc<Mutex<Transcript>>,
    child: Child,
    /// The process and all that it started.
    group: Option<Pid>,
    runtime_api: RuntimeApi,
    /// The process's request for an invocation, if it has made one.
    waiting: Option<oneshot::Sender<Delivery>>,
    output: Output,
    /// The process's own directory for temporary files, removed after the process is gone.
    _scratch: TempDir,
}

/// What may happen while a process runs.
enum Event {
    Call(RuntimeCall),
    Exited(Fault),
}

impl Sandbox {
    /// Starts a process of `function`. It is usable once [`ready`](Self::ready) returns.
    pub(crate) async fn start(
        function: &Function,
        region: &str,
        transcript: Arc<Mutex<Transcript>>,
    ) -> Result<Self, Fault> {
        let not_started = |error: io::Error| Fault::NotStarted {
            reason: format!("fork/exec {}: {}", function.binary.display(), in_go_words(&error)),
        };
        let runtime_api = RuntimeApi::open().await.map_err(not_started)?;
        let scratch = tempfile::tempdir().map_err(not_started)?;
        let (output, writer) = Output::new(Arc::clone(&transcript)).map_err(not_started)?;
        let task_root = function.binary.parent().unwrap_or(Path::new("/"));
        let setting = Setting {
            function,
            region,
            task_root,
            runtime_api: runtime_api.address,
            scratch: scratch.path(),
        };
        let child = Command::new(&function.binary)
            .env_clear()
            .envs(setting.variables())
            .current_dir(task_root)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(not_started)?)
            .stderr(writer)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(not_started)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { transcript, child, group, runtime_api, waiting: None, output, _scratch: scratch })
    }

    /// Waits until the process asks for an invocation.
    pub(crate) async fn ready(&mut self) -> Result<(), Fault> {
        while self.waiting.is_none() {
            match self.event().await {
                Event::Call(RuntimeCall::Next(sender)) => self.waiting = Some(sender),
                Event::Call(RuntimeCall::Answer(_)) => {}
                Event::Call(RuntimeCall::InitialisationError(payload)) => {
                    return Err(self.failed_to_initialise(payload).await);
                }
                Event::Exited(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Hands an invocation to the process and waits for what it makes of it.
    pub(crate) async fn run(&mut self, mut delivery: Delivery) -> Result<Answer, Fault> {
        loop {
            self.ready().await?;
            let Some(sender) = self.waiting.take() else {
                continue;
            };
            self.runtime_api.expect_answer_to(&delivery);
            match sender.send(delivery) {
                Ok(()) => break,
                // The connection that asked is gone, so the process either asks again or has ended.
                Err(undelivered) => delivery = undelivered,
            }
        }
        loop {
            match self.event().await {
                Event::Call(RuntimeCall::Answer(answer)) => return Ok(answer),
                Event::Call(RuntimeCall::Next(sender)) => self.waiting = Some(sender),
                Event::Call(RuntimeCall::InitialisationError(payload)) => {
                    return Err(self.failed_to_initialise(payload).await);
                }
                Event::Exited(fault) => return Err(fault),
            }
        }
    }

    /// Whether the process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        let is_alive = matches!(self.child.try_wait(), Ok(None));
        if !is_alive {
            self.kill_group();
        }
        is_alive
    }

    /// Takes over all that the process has written so far, so that what is logged next comes after it.
    pub(crate) fn drain_output(&self) {
        self.output.drain();
    }

    /// The most memory that the process has used, where the system tells.
    pub(crate) fn memory_used_mb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = peak.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        Some(kilobytes.div_ceil(1024))
    }

    async fn event(&mut self) -> Event {
        // A call that was made before the process ended counts, hence the order.
        let status = tokio::select! {
            biased;
            Some(call) = self.runtime_api.calls.recv() => return Event::Call(call),
            status = self.child.wait() => status,
        };
        Event::Exited(self.ended(status))
    }

    /// Ends what the process has left behind. Its identifier is free again, but the system hands out all
    /// others before it does this one.
    fn ended(&self, status: io::Result<ExitStatus>) -> Fault {
        self.kill_group();
        match status {
            Ok(status) => Fault::exited(status),
            Err(error) => Fault::Exited { reason: Some(in_go_words(&error)) },
        }
    }

    fn kill_group(&self) {
        if let Some(group) = self.group
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, "nothing was left to kill of a process");
        }
    }

    /// Lets the process log its last words and end.
    async fn failed_to_initialise(&mut self, payload: bytes::Bytes) -> Fault {
        let wait = tokio::time::timeout(LAST_WORDS_WAIT, self.child.wait());
        if wait.await.is_ok() {
            self.kill_group();
        }
        Fault::Initialisation { payload }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A process that has ended has taken its group along, see `ended`.
        if self.child.id().is_some() {
            self.kill_group();
        }
    }
}

/// A system error as Go, and so AWS, prints it: lower case, without the number.
fn in_go_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
