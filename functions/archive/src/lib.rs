//! ZIP archives whose entries are made apart from each other and joined later.
//!
//! An archive is its entries, one after the other, and then a [`Directory`] of them. An entry is a
//! local header and its content, and says nothing of where in the archive it stands. So entries
//! may be made at different times in different places, and an archive of them is a concatenation:
//! object stores do that without moving the bytes.
//!
//! The `zip` crate can not do this. It writes a local header together with the content that
//! follows it, and a directory only of entries that it has written itself. It is the second
//! definition of correct in this crate's tests.
//!
//! [`Deflater`] compresses the content of one entry on several cores.
//!
//! Protocol facts are from PKWARE's [APPNOTE]; numbers such as 4.3.7 are its sections.
//!
//! [APPNOTE]: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
//!
//! ```
//! use archive::{Deflater, Directory, Entry, MemberName};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let level = 6;
//! let mut content = Vec::new();
//! let mut deflater = Deflater::new(level, 2.try_into()?);
//! deflater.push(b"id,name\n1,Ann\n", &mut content).await;
//! let deflated = deflater.finish(&mut content).await;
//! let name = MemberName::safe("users.csv")?;
//! let entry = Entry::new(name, "2026-01-31T12:30:44Z".parse()?, level, deflated);
//! let mut directory = Directory::default();
//! directory.push(&entry);
//! let archive = [entry.local_header(), content, directory.finish()].concat();
//! # let mut reader = zip::ZipArchive::new(std::io::Cursor::new(archive))?;
//! # assert_eq!(std::io::read_to_string(reader.by_name("users.csv")?)?, "id,name\n1,Ann\n");
//! # Ok(())
//! # }
//! ```

mod deflate;
mod directory;
mod entry;
mod name;
mod record;

pub use deflate::{Deflated, Deflater};
pub use directory::Directory;
pub use entry::{Entry, Method, dos_date_and_time};
pub use name::{MemberName, NameTooLong, Names};
