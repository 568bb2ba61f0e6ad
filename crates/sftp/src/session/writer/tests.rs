use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use proptest::{collection::vec, prelude::*};
use tokio::sync::{Semaphore, mpsc};

use super::*;

/// A stream that takes so many bytes at once, and remembers its writes.
#[derive(Clone)]
struct Sink {
    is_vectored: bool,
    bytes_max: usize,
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Writes after which it fails.
    writes_max: usize,
}

impl Sink {
    fn new(is_vectored: bool, bytes_max: usize) -> Self {
        Self { is_vectored, bytes_max, writes: Arc::default(), writes_max: usize::MAX }
    }

    fn take<'a>(&self, bytes: impl Iterator<Item = &'a u8>) -> Poll<io::Result<usize>> {
        let bytes: Vec<u8> = bytes.take(self.bytes_max).copied().collect();
        assert!(!bytes.is_empty(), "a write of nothing");
        let mut writes = self.writes.lock().unwrap();
        if writes.len() == self.writes_max {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        writes.push(bytes);
        Poll::Ready(Ok(writes.last().map_or(0, Vec::len)))
    }
}

impl AsyncWrite for Sink {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.take(bytes.iter())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        assert!(self.is_vectored);
        self.take(slices.iter().flat_map(|slice| slice.iter()))
    }

    fn is_write_vectored(&self) -> bool {
        self.is_vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Writes requests, and returns whether that failed.
fn write(sink: &Sink, requests: Vec<Outgoing>) -> bool {
    let (queue, received) = mpsc::unbounded_channel();
    for request in requests {
        queue.send(request).unwrap();
    }
    drop(queue);
    let (failed, mut has_failed) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(send_requests(sink.clone(), received, failed));
    has_failed.try_recv().is_ok()
}

/// A request of a packet and data of these sizes.
fn request(sizes: &[usize]) -> Outgoing {
    let slice = |size| (0..=u8::MAX).cycle().take(size).collect::<Bytes>();
    let data = sizes.iter().skip(1).map(|size| slice(*size)).collect();
    Outgoing::new(slice(sizes[0])).with_data(data)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_byte_is_written_once_and_in_order(
        requests in vec(vec(prop_oneof![0..100usize, 0..40_000usize], 1..6), 0..20),
        bytes_max in prop_oneof![1..2000usize, Just(usize::MAX)],
        is_vectored in any::<bool>(),
    ) {
        // One byte at a time is slow for what is large.
        let bytes_max = bytes_max.max(100);
        let sink = Sink::new(is_vectored, bytes_max);
        let requests: Vec<_> = requests.iter().map(|sizes| request(sizes)).collect();
        let expected: Vec<u8> = requests
            .iter()
            .flat_map(|request| std::iter::once(&request.packet).chain(&request.data))
            .flatten()
            .copied()
            .collect();
        prop_assert!(!write(&sink, requests));
        prop_assert_eq!(sink.writes.lock().unwrap().concat(), expected);
    }
}

#[test]
fn a_stream_that_takes_one_slice_at_once_gets_no_short_ones() {
    // The requests of an upload: a header, and what the source gave.
    for (sizes, expected) in [
        (&[30, 32_768][..], &[32_768, 32_768, 32_768, 90][..]),
        (&[30, 261_120], &[32_768, 228_382, 32_768, 228_382, 32_768, 228_382]),
        (&[30, 16_000, 16_768], &[32_768, 32_768, 32_768, 90]),
        (&[30], &[90]),
    ] {
        let sink = Sink::new(false, usize::MAX);
        write(&sink, (0..3).map(|_| request(sizes)).collect());
        let writes: Vec<_> = sink.writes.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!(writes, expected, "{sizes:?}");
    }
}

#[test]
fn a_stream_that_takes_slices_gets_a_request_at_once() {
    let sink = Sink::new(true, usize::MAX);
    write(&sink, (0..3).map(|_| request(&[30, 16_000, 16_768])).collect());
    let writes: Vec<_> = sink.writes.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(writes, [3 * 32_798]);
}

#[test]
fn a_failure_is_told_and_ends_the_writer() {
    for is_vectored in [false, true] {
        let sink = Sink { writes_max: 2, ..Sink::new(is_vectored, 20) };
        assert!(write(&sink, vec![request(&[30]), request(&[30])]));
        assert_eq!(sink.writes.lock().unwrap().len(), 2);
    }
}

#[test]
fn a_place_in_the_queue_is_free_after_the_write() {
    let room = Arc::new(Semaphore::new(2));
    let place = Arc::clone(&room).try_acquire_owned().unwrap();
    let sink = Sink::new(true, usize::MAX);
    write(&sink, vec![request(&[30]).with_room(place)]);
    assert_eq!(room.available_permits(), 2);
}
