//! Prints what many runs used of the policies, and why the rest is there: `report FILE REASONS`, a
//! file of `Report::append_to`, and a JSON object with a reason for each right that none of them used.
//!
//! It fails if a right that was not used has no reason, and if one that has a reason was used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write as _},
    path::Path,
};

use local_iam::Report;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, reasons] = &arguments[..] else {
        return Err(io::Error::other(
            "expected the file of the reports and the file of the reasons",
        ));
    };
    let report = Report::read(Path::new(file))?;
    let reasons: BTreeMap<String, String> = serde_json::from_reader(File::open(reasons)?)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{report}\nNever used, and why they are there:")?;
    for (right, reason) in &reasons {
        writeln!(out, "  {right}: {reason}")?;
    }
    let explained: BTreeSet<String> = reasons.into_keys().collect();
    let wrong: Vec<String> = report
        .unused()
        .symmetric_difference(&explained)
        .map(|right| {
            if explained.contains(right) {
                format!("{right}: was used or is gone, and its reason can go")
            } else {
                format!("{right}: was never used; remove it, or say why it is there")
            }
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(io::Error::other(wrong.join("\n"))) }
}
