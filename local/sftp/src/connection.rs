//! One SSH connection: who logs in, and the start of SFTP.

use std::{
    borrow::Cow,
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use russh::{
    Channel, ChannelId, MethodKind, MethodSet,
    server::{
        Auth, ChannelOpenHandle, Handler, Msg, Response, Session as SshSession, VerifiedPublicKey,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{Fault, State, files::Files, gate::Gate};

/// The handler of one connection.
pub(crate) struct Session {
    state: Arc<State>,
    number: usize,
    cut: CancellationToken,
    channels: HashMap<ChannelId, Channel<Msg>>,
    key_accepted: bool,
    password_accepted: bool,
}

impl Session {
    pub(crate) fn new(state: Arc<State>, number: usize, cut: CancellationToken) -> Self {
        Self {
            state,
            number,
            cut,
            channels: HashMap::new(),
            key_accepted: false,
            password_accepted: false,
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.state.faults.has(self.number, fault)
    }

    /// A rejection of credentials. As OpenSSH does it, the same methods are offered again.
    fn reject(&self) -> Auth {
        self.state.logins_rejected.fetch_add(1, Ordering::SeqCst);
        Auth::Reject {
            proceed_with_methods: Some(self.state.ssh.methods.clone()),
            partial_success: false,
        }
    }

    /// Not a rejection of credentials: the client is told what else to try.
    fn ask_for(method: MethodKind, partial_success: bool) -> Auth {
        Auth::Reject { proceed_with_methods: Some(MethodSet::from(&[method][..])), partial_success }
    }
}

impl Handler for Session {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::reject())
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        if self.has(Fault::DropAtLogin) {
            self.cut.cancel();
        }
        if self.has(Fault::KeyboardInteractiveOnly) {
            return Ok(Self::ask_for(MethodKind::KeyboardInteractive, false));
        }
        if self.has(Fault::KeyThenPassword) && !self.key_accepted {
            return Ok(Self::ask_for(MethodKind::PublicKey, false));
        }
        let accepted = self.state.accounts.has_password(user, password);
        Ok(if accepted { Auth::Accept } else { self.reject() })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        if self.has(Fault::KeyboardInteractiveOnly) {
            return Ok(Self::ask_for(MethodKind::KeyboardInteractive, false));
        }
        if !self.state.accounts.has_key(user, key.public_key) {
            return Ok(self.reject());
        }
        if self.has(Fault::KeyThenPassword) {
            self.key_accepted = true;
            return Ok(Self::ask_for(MethodKind::Password, true));
        }
        Ok(Auth::Accept)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        if self.has(Fault::KeyThenPassword) {
            return Ok(Self::ask_for(MethodKind::PublicKey, false));
        }
        let ask = |prompts: Vec<(Cow<'static, str>, bool)>| Auth::Partial {
            name: Cow::Borrowed(""),
            instructions: Cow::Borrowed(""),
            prompts: Cow::Owned(prompts),
        };
        let Some(mut response) = response else {
            return Ok(ask(vec![(Cow::Borrowed("Password: "), false)]));
        };
        if self.has(Fault::DropAtLogin) {
            self.cut.cancel();
        }
        if self.password_accepted {
            return Ok(Auth::Accept);
        }
        let answer = response.next().unwrap_or_default();
        let accepted = std::str::from_utf8(&answer)
            .is_ok_and(|text| self.state.accounts.has_password(user, text));
        if !accepted {
            return Ok(self.reject());
        }
        self.password_accepted = true;
        Ok(if self.has(Fault::KeyboardInteractiveOnly) { ask(Vec::new()) } else { Auth::Accept })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut SshSession,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        session: &mut SshSession,
    ) -> Result<(), Self::Error> {
        session.close(channel)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut SshSession,
    ) -> Result<(), Self::Error> {
        let refused = name != "sftp" || self.has(Fault::NoSftp);
        let Some(channel) = self.channels.remove(&id).filter(|_| !refused) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        if self.has(Fault::NoisySftp) {
            session.data(id, &b"Welcome to the partner's server!\r\n"[..])?;
        }
        if self.has(Fault::SilentSftp) {
            self.channels.insert(id, channel);
            return Ok(());
        }
        let faults: Vec<_> = self.state.faults.at(self.number).collect();
        let gate = faults.iter().copied().find_map(Gate::of);
        let observed = &self.state.observed;
        let files = Files::new(self.state.root.clone(), faults, self.cut.clone(), observed.clone());
        let stream = channel.into_stream();
        match gate {
            None => russh_sftp::server::run(stream, files).await,
            Some(gate) => {
                let stream = gate.before(stream, &self.cut, observed);
                russh_sftp::server::run(stream, files).await;
            }
        }
        Ok(())
    }
}

/// A stream that can be cut: from then on both directions fail.
pub(crate) struct Severable {
    stream: TcpStream,
    cut: CancellationToken,
    cut_seen: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Severable {
    pub(crate) fn new(stream: TcpStream, cut: CancellationToken) -> Self {
        Self { stream, cut_seen: Box::pin(cut.clone().cancelled_owned()), cut }
    }

    fn stream(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        if self.cut.is_cancelled() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(Pin::new(&mut self.get_mut().stream))
    }
}

impl AsyncRead for Severable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut_seen.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Severable {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
