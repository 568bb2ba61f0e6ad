//! Prints what many runs used of the policies: `report FILE`, a file of `Report::append_to`.

use std::{io, io::Write as _, path::PathBuf};

use local_iam::Report;

fn main() -> io::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let file = file.ok_or_else(|| io::Error::other("expected the file of the reports"))?;
    write!(io::stdout(), "{}", Report::read(&file)?)
}
