//! The second file, which tells the recipient that the first one is complete.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use job::transport::Sidecar;

use super::{
    attempt::{Attempt, Delivered, is_broken},
    names::{Names, file_name},
    progress::Progress,
    publish::withdraw,
    remote::Remote,
};
use crate::{error::Error, source::Content};

impl Attempt<'_> {
    /// Writes the second file, which replaces an older one.
    pub(super) async fn write_sidecar(
        &self,
        remote: &Remote,
        sidecar: Sidecar,
        delivered: &Delivered,
    ) -> Result<(), Error> {
        let sftp = self.sftp;
        let text = match sidecar {
            Sidecar::Done => String::new(),
            // As `sha256sum` writes and checks it.
            Sidecar::Sha256 => {
                let sha256 = delivered.sha256.as_ref();
                let sha256 = sha256.expect("where a checksum is wanted, no file passes unread");
                format!("{sha256}  {}\n", file_name(sftp.config, self.parcel)?)
            }
        };
        let names = Names::of_sidecar(sftp.config, &sftp.directory, self.parcel, sidecar)?;
        let mut progress = Progress::default();
        let write = async {
            let sent = self.write(remote, &names, content(text), None, &mut progress).await?;
            self.give_final_name(remote, &names, &sent).await
        };
        let written = write.await;
        if let (Err(error), Some(names)) = (&written, &progress.names)
            && !is_broken(error)
        {
            withdraw(remote, names).await;
        }
        written.map(drop)
    }
}

fn content(text: String) -> Content {
    Content {
        size_bytes: text.len() as u64,
        version: String::new(),
        chunks: stream::iter([Ok(Bytes::from(text))]).boxed(),
    }
}
