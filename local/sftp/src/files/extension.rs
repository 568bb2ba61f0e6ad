//! OpenSSH's extensions of SFTP.

use russh_sftp::{
    protocol::{ExtendedReply, Packet, StatusCode},
    server::StatusReply,
};

use super::{DATA_BYTES_MAX, HANDLES_MAX, PACKET_BYTES_MAX};
use crate::Fault;

/// An extension that the server knows.
#[derive(Clone, Copy)]
pub(super) enum Extension {
    /// A rename that replaces the target in one step.
    PosixRename,
    /// Waits until a file is on the disk.
    Fsync,
    /// Tells the largest packet, read and write.
    Limits,
}

impl Extension {
    pub(super) const ALL: &[Self] = &[Self::PosixRename, Self::Fsync, Self::Limits];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PosixRename => "posix-rename@openssh.com",
            Self::Fsync => "fsync@openssh.com",
            Self::Limits => "limits@openssh.com",
        }
    }

    /// Whether one of the faults takes the extension away.
    pub(super) fn is_missing(self, faults: &[Fault]) -> bool {
        matches!(self, Self::PosixRename) && faults.contains(&Fault::NoPosixRename)
    }
}

/// The arguments of a request: texts, each behind its length.
pub(super) struct Arguments<'a>(pub(super) &'a [u8]);

impl Arguments<'_> {
    pub(super) fn text(&mut self) -> Result<String, StatusReply> {
        let bad = || StatusCode::BadMessage.into();
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or_else(bad)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| bad())?;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(bad)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| bad())
    }
}

/// The answer to a request for the limits.
pub(super) fn limits(id: u32) -> Packet {
    let numbers = [
        u64::from(PACKET_BYTES_MAX),
        u64::from(DATA_BYTES_MAX),
        u64::from(DATA_BYTES_MAX),
        HANDLES_MAX as u64,
    ];
    Packet::ExtendedReply(ExtendedReply {
        id,
        data: numbers.iter().flat_map(|n| n.to_be_bytes()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_cut_off_are_a_bad_message() {
        let whole = [0, 0, 0, 1, b'a', 0, 0, 0, 0];
        let mut arguments = Arguments(&whole);
        assert_eq!(
            (arguments.text().unwrap(), arguments.text().unwrap()),
            ("a".to_owned(), String::new())
        );
        for length in 0..5 {
            let error = Arguments(&whole[..length]).text().unwrap_err();
            assert_eq!(error.status_code, StatusCode::BadMessage);
        }
    }
}
