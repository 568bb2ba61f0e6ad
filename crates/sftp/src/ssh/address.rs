//! The TCP connection to a server that may have several addresses.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::{StreamExt as _, future::Either, stream::FuturesUnordered};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, sleep_until, timeout_at},
};

/// Head start of an address before the next one is tried, too (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the first address of `host` that answers within `limit`.
///
/// # Errors
///
/// The failure of each address, as text.
pub(super) async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, String> {
    let deadline = Instant::now() + limit;
    let looked_up = timeout_at(deadline, lookup_host((host, port))).await;
    let addresses: Vec<_> = looked_up
        .map_err(|_| format!("looking up the name took longer than {} s", limit.as_secs()))?
        .map_err(|error| format!("looking up the name failed ({error})"))?
        .collect();
    if addresses.is_empty() {
        return Err("the name has no address".to_owned());
    }
    race(alternate(addresses), deadline)
        .await
        .map_err(|failures| describe(&failures, host.parse::<IpAddr>().is_ok(), limit))
}

/// Orders the addresses so that the families take turns, beginning with the resolver's first.
///
/// One of the two is often announced and not reachable.
fn alternate(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut these, mut others): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = VecDeque::new();
    while !these.is_empty() || !others.is_empty() {
        ordered.extend(these.pop_front());
        ordered.extend(others.pop_front());
    }
    ordered
}

/// An address and its failure; no failure if it did not answer in time.
type Failed = (SocketAddr, Option<io::Error>);

/// Tries one address after the other, each with a head start, until one answers.
async fn race(
    mut waiting: VecDeque<SocketAddr>,
    deadline: Instant,
) -> Result<TcpStream, Vec<Failed>> {
    let mut running = FuturesUnordered::new();
    let mut silent = Vec::new();
    let mut failures: Vec<Failed> = Vec::new();
    let mut next_at = Instant::now();
    loop {
        let start = if waiting.is_empty() {
            Either::Left(std::future::pending())
        } else {
            Either::Right(sleep_until(next_at))
        };
        tokio::select! {
            Some((address, result)) = running.next(), if !running.is_empty() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    silent.retain(|known| *known != address);
                    failures.push((address, Some(error)));
                    if waiting.is_empty() && running.is_empty() {
                        return Err(failures);
                    }
                    next_at = Instant::now();
                }
            },
            () = start => {
                if let Some(address) = waiting.pop_front() {
                    silent.push(address);
                    running.push(async move { (address, TcpStream::connect(address).await) });
                }
                next_at = Instant::now() + HEAD_START;
            }
            () = sleep_until(deadline) => {
                failures.extend(silent.into_iter().chain(waiting).map(|address| (address, None)));
                return Err(failures);
            }
        }
    }
}

fn describe(failures: &[Failed], is_address: bool, limit: Duration) -> String {
    let reasons: Vec<_> = failures
        .iter()
        .map(|(address, error)| {
            let reason = match error {
                Some(error) => error.to_string(),
                None => format!("no answer for {} s", limit.as_secs()),
            };
            // The message names the server; an address of it says more only if it is another text.
            if is_address { reason } else { format!("{}: {reason}", address.ip()) }
        })
        .collect();
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    async fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn refusing() -> SocketAddr {
        listening().await.1
    }

    /// An address that does not answer: its queue of connections is full.
    async fn silent() -> (SocketAddr, Vec<tokio::task::JoinHandle<io::Result<TcpStream>>>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = socket.listen(0).unwrap();
        let fill = (0..4).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Kept open for the rest of the test's process, never accepted from.
        std::mem::forget(listener);
        (address, fill)
    }

    #[tokio::test]
    async fn an_address_that_answers_is_found_behind_dead_ones() {
        let (_listener, good) = listening().await;
        let (mute, _fill) = silent().await;
        for before in
            [vec![], vec![refusing().await], vec![mute], vec![mute, refusing().await, mute]]
        {
            let addresses = before.iter().copied().chain([good]).collect();
            let deadline = Instant::now() + Duration::from_secs(5);
            let stream = race(addresses, deadline).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good, "{before:?}");
        }
    }

    #[tokio::test]
    async fn the_error_names_each_address_with_its_failure() {
        let (mute, _fill) = silent().await;
        let refusing = refusing().await;
        let limit = Duration::from_secs(1);
        let failures = race([mute, refusing].into(), Instant::now() + limit).await.unwrap_err();
        assert_eq!(
            describe(&failures, false, limit),
            "127.0.0.1: Connection refused (os error 111); 127.0.0.1: no answer for 1 s"
        );
        assert_eq!(describe(&failures[..1], true, limit), "Connection refused (os error 111)");
    }

    #[tokio::test]
    async fn a_name_that_is_unknown_is_said_to_be() {
        let error = connect("partner.invalid", 22, Duration::from_secs(5)).await.unwrap_err();
        assert!(error.starts_with("looking up the name "), "{error}");
    }

    #[test]
    fn families_take_turns() {
        let addresses = |text: &str| -> Vec<SocketAddr> {
            text.split(' ').map(|ip| SocketAddr::new(ip.parse().unwrap(), 22)).collect()
        };
        for (given, expected) in [
            ("::1 ::2 10.0.0.1 10.0.0.2", "::1 10.0.0.1 ::2 10.0.0.2"),
            ("10.0.0.1 ::1 ::2", "10.0.0.1 ::1 ::2"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(Vec::from(alternate(addresses(given))), addresses(expected));
        }
    }
}
