//! The text before a server's identification.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Limits of OpenSSH's client (`kex_exchange_identification`).
const LINES_MAX: usize = 1024;
const LINE_BYTES_MAX: usize = 8192;

/// Bytes of a first line that are kept.
const FIRST_LINE_BYTES_MAX: usize = 200;

/// Facts about the beginning of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Preface(Arc<State>);

#[derive(Debug, Default)]
struct State {
    seen: Mutex<Seen>,
    read_bytes: AtomicU64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Whether the server identified itself as one that speaks SSH 2.
    pub(super) is_ssh: bool,
    /// First line of text that is no identification, or the part of it that came.
    pub(super) first_line: Option<String>,
}

impl Preface {
    pub(super) fn seen(&self) -> Seen {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number of bytes that came from the server so far.
    pub(super) fn read_bytes(&self) -> u64 {
        self.0.read_bytes.load(Ordering::Relaxed)
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.0.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn note_line(&self, line: &[u8]) {
        let line = &line[..line.len().min(FIRST_LINE_BYTES_MAX)];
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        self.note(|seen| {
            if !line.is_empty() && seen.first_line.is_none() {
                seen.first_line = Some(line);
            }
        });
    }
}

/// A stream without the lines that may come before the identification (RFC 4253, section 4.2).
///
/// The SSH library takes 20 lines of 255 bytes, and none that is empty. OpenSSH takes more, and so
/// servers send more.
pub(super) struct Identified<S> {
    stream: S,
    preface: Preface,
    reading: Reading,
}

enum Reading {
    Preface {
        buffer: Vec<u8>,
        lines: usize,
    },
    /// The identification, and what came with it.
    Rest(Vec<u8>),
    Stream,
}

impl<S> Identified<S> {
    pub(super) fn new(stream: S, preface: Preface) -> Self {
        Self { stream, preface, reading: Reading::Preface { buffer: Vec::new(), lines: 0 } }
    }
}

/// Drops the lines before the identification; returns whether it is at the beginning now.
fn skip_lines(buffer: &mut Vec<u8>, lines: &mut usize, preface: &Preface) -> io::Result<bool> {
    let refused = |reason: &str| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    loop {
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let line = &buffer[..end.unwrap_or(buffer.len())];
        if is_other_protocol(line) {
            preface.note_line(line);
            return refused("another protocol");
        }
        if line.len() > LINE_BYTES_MAX {
            preface.note_line(line);
            return refused("a line that does not end before an identification");
        }
        let Some(end) = end else { return Ok(false) };
        if line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-") {
            preface.note(|seen| seen.is_ssh = true);
            return Ok(true);
        }
        preface.note_line(line);
        if line.starts_with(b"SSH-") {
            return refused("a version of SSH that is not supported");
        }
        *lines += 1;
        if *lines > LINES_MAX {
            return refused("too many lines before an identification");
        }
        buffer.drain(..=end);
    }
}

/// Returns whether the line begins an answer of HTTP, TLS, FTP, SMTP, POP3, IMAP, VNC or telnet.
///
/// Such a server waits for more, and would use up the time limit.
fn is_other_protocol(line: &[u8]) -> bool {
    let is_reply =
        matches!(line, [b'2', b'2', b'0', b' ' | b'-', ..] | [b'4', b'2', b'1', b' ' | b'-', ..]);
    let starts: [&[u8]; 7] =
        [b"HTTP/", b"\x15\x03", b"\x16\x03", b"+OK", b"* OK", b"RFB ", b"\xff\xfd"];
    is_reply || starts.iter().any(|start| line.starts_with(start))
}

/// Names the protocol whose server says this, for a message.
pub(super) fn hint(first_line: &str) -> &'static str {
    let upper = first_line.to_ascii_uppercase();
    let is_reply = first_line.starts_with("220") || first_line.starts_with("421");
    if is_reply && upper.contains("SMTP") {
        "; this is a mail server"
    } else if is_reply {
        "; this is an FTP server, and SFTP is another protocol: ask for the port of SFTP"
    } else if first_line.starts_with("HTTP/") {
        "; this is a web server: check `sftp_port`"
    } else if first_line.starts_with(['\u{15}', '\u{16}']) {
        "; this is a server of TLS, such as FTPS, and SFTP is another protocol: ask for the port of \
         SFTP"
    } else if first_line.starts_with("SSH-") {
        "; only version 2 of SSH is supported"
    } else {
        ""
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Identified<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.reading {
                Reading::Stream => {
                    let before = into.filled().len();
                    ready!(Pin::new(&mut this.stream).poll_read(cx, into))?;
                    let read = (into.filled().len() - before) as u64;
                    this.preface.0.read_bytes.fetch_add(read, Ordering::Relaxed);
                    return Poll::Ready(Ok(()));
                }
                Reading::Rest(rest) => {
                    let taken = rest.len().min(into.remaining());
                    into.put_slice(&rest[..taken]);
                    rest.drain(..taken);
                    if rest.is_empty() {
                        this.reading = Reading::Stream;
                    }
                    return Poll::Ready(Ok(()));
                }
                Reading::Preface { buffer, lines } => {
                    let mut chunk = [0; 1024];
                    let mut chunk = ReadBuf::new(&mut chunk);
                    ready!(Pin::new(&mut this.stream).poll_read(cx, &mut chunk))?;
                    if chunk.filled().is_empty() {
                        this.preface.note_line(buffer);
                        return Poll::Ready(Ok(()));
                    }
                    buffer.extend_from_slice(chunk.filled());
                    if skip_lines(buffer, lines, &this.preface)? {
                        this.reading = Reading::Rest(std::mem::take(buffer));
                    }
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Identified<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    const IDENTIFICATION: &str = "SSH-2.0-OpenSSH_9.2\r\nand the rest";

    /// Reads everything that comes behind the text before the identification.
    async fn read(bytes: &[u8]) -> (io::Result<String>, Seen) {
        let preface = Preface::default();
        let mut stream = Identified::new(bytes, preface.clone());
        let mut text = String::new();
        let result = stream.read_to_string(&mut text).await.map(|_| text);
        (result, preface.seen())
    }

    #[tokio::test]
    async fn lines_before_the_identification_are_skipped() {
        for before in [
            String::new(),
            "\n".to_owned(),
            "\r\n\r\n".to_owned(),
            format!("{}\r\n", "x".repeat(300)),
            format!("{}\n", "x".repeat(8000)),
            "notice\n".repeat(25),
            "notice\r\n".repeat(1024),
            "SSH is spoken here\n".to_owned(),
        ] {
            let (read, seen) = read(format!("{before}{IDENTIFICATION}").as_bytes()).await;
            assert_eq!((read.unwrap().as_str(), seen.is_ssh), (IDENTIFICATION, true), "{before:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_ssh_server_is_told_by_its_first_line() {
        let tls = b"\x15\x03\x01\x00\x02\x02\x46";
        for (bytes, first_line, protocol) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP/1.1 400 Bad Request", "web server"),
            (b"220 (vsFTPd 3.0.3)\r\n", "220 (vsFTPd 3.0.3)", "FTP server"),
            (b"220-Welcome\r\n220 here\r\n", "220-Welcome", "FTP server"),
            (b"220 mx ESMTP Postfix\r\n", "220 mx ESMTP Postfix", "mail server"),
            (tls, "\u{15}\u{3}\u{1}\0\u{2}\u{2}F", "server of TLS"),
            (b"SSH-1.5-old\r\n", "SSH-1.5-old", "version 2"),
        ] {
            let (read, seen) = read(bytes).await;
            assert!(read.is_err() && !seen.is_ssh, "{first_line}");
            assert_eq!(seen.first_line.as_deref(), Some(first_line));
            assert!(hint(first_line).contains(protocol), "{first_line}");
        }
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_or_never_identifies_itself_is_given_up() {
        for (bytes, first_line, is_end) in [
            (Vec::new(), None, true),
            (b"Exceeded MaxStartups\r\n".to_vec(), Some("Exceeded MaxStartups"), true),
            (b"\r\nno more".to_vec(), Some("no more"), true),
            (b"x\n".repeat(1025), Some("x"), false),
            (vec![b'y'; 9000], Some("y".repeat(200).as_str()), false),
        ] {
            let (read, seen) = read(&bytes).await;
            assert_eq!((read.is_ok(), seen.is_ssh), (is_end, false), "{first_line:?}");
            assert_eq!(seen.first_line.as_deref(), first_line);
        }
    }
}
