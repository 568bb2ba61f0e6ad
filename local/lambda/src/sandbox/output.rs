//! What a process writes to standard output and standard error.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::unix::pipe::Receiver;
use tokio_util::task::AbortOnDropHandle;

use crate::transcript::Transcript;

/// The reading end of a pipe that carries both outputs of a process, in the order they were written.
#[derive(Debug)]
pub(super) struct Output {
    pipe: PipeReader,
    transcript: Arc<Mutex<Transcript>>,
    _reader: AbortOnDropHandle<()>,
}

impl Output {
    /// Opens a pipe, and begins to pass on whatever is written to its other end.
    pub(super) fn new(transcript: Arc<Mutex<Transcript>>) -> io::Result<(Self, PipeWriter)> {
        let (pipe, writer) = io::pipe()?;
        // Both ends of the copy share one open file, so that this one does not block either.
        let receiver = Receiver::from_owned_fd(pipe.try_clone()?.into())?;
        let reader = tokio::spawn(follow(receiver, Arc::clone(&transcript)));
        Ok((Self { pipe, transcript, _reader: AbortOnDropHandle::new(reader) }, writer))
    }

    /// Takes what is in the pipe now. What a process wrote before it called the Runtime API is there,
    /// whether or not the reading task has been told.
    pub(super) fn drain(&self) {
        pass_on(&self.transcript, |buffer| (&self.pipe).read(buffer));
    }
}

/// Passes output on until the last process that could write has ended.
async fn follow(receiver: Receiver, transcript: Arc<Mutex<Transcript>>) {
    while receiver.readable().await.is_ok() {
        if pass_on(&transcript, |buffer| receiver.try_read(buffer)) == Pipe::Closed {
            return;
        }
    }
}

#[derive(PartialEq, Eq)]
enum Pipe {
    Empty,
    Closed,
}

/// Reads until there is nothing more. The lock is held meanwhile, which keeps the two readers in order.
fn pass_on(
    transcript: &Mutex<Transcript>,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> Pipe {
    let mut transcript = transcript.lock().unwrap_or_else(PoisonError::into_inner);
    let mut buffer = [0; 8192];
    loop {
        match read(&mut buffer) {
            Ok(0) => return Pipe::Closed,
            Ok(size) => transcript.output(&buffer[..size]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Pipe::Empty,
            Err(_) => return Pipe::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::transcript::Sink;

    /// On a runtime of one thread the reading task does not run before the test waits for something.
    #[tokio::test]
    async fn what_was_written_is_taken_over_at_once_and_what_follows_soon() {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let sink = Sink::open(Some(dir.path()), "f").expect("the log opens");
        let transcript = Arc::new(Mutex::new(Transcript::new(Arc::new(sink))));
        let (output, mut writer) =
            Output::new(Arc::clone(&transcript)).expect("a pipe can be made");
        let logged = || transcript.lock().unwrap_or_else(PoisonError::into_inner).tail();
        writer.write_all(b"one\n").expect("the pipe takes it");
        output.drain();
        assert_eq!(logged(), "one\n");
        writer.write_all(b"two\n").expect("the pipe takes it");
        while logged() != "one\ntwo\n" {
            tokio::task::yield_now().await;
        }
        output.drain();
        assert_eq!(logged(), "one\ntwo\n");
    }
}
