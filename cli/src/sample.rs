//! `athena-workflow sample`: data to try it with.

use std::fs;

use indicatif::{BinaryBytes, HumanCount};
use local_athena::TableWritten;

use crate::{Error, Terminal, args::SampleArgs, report};

/// The name of the database that is written.
const DATABASE: &str = "tpch";

/// Writes the tables of TPC-H to `<dir>/tpch/` and says how large each is.
///
/// # Errors
///
/// When a table can not be written.
pub async fn sample(args: &SampleArgs, terminal: &mut Terminal<'_>) -> Result<(), Error> {
    let (dir, scale) = (args.dir.join(DATABASE), args.scale);
    let written = tokio::task::spawn_blocking(move || local_athena::write_tpch(&dir, scale)).await;
    let tables = match written {
        Ok(tables) => tables.map_err(Error::Sample)?,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    let mut rows = Vec::new();
    for TableWritten { name, path, rows: count } in &tables {
        let size =
            fs::metadata(path).map_err(|source| Error::Size { path: path.clone(), source })?.len();
        rows.push([
            format!("{DATABASE}.{name}"),
            HumanCount(*count).to_string(),
            BinaryBytes(size).to_string(),
            path.display().to_string(),
        ]);
    }
    terminal.result(report::table(["table", "rows", "bytes", "file"], [1, 2], rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_table_is_there_with_its_rows_and_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal::new(&mut out, &mut err, false);
        let args = SampleArgs { dir: dir.path().to_owned(), scale: 0.001 };
        for _ in 0..2 {
            sample(&args, &mut terminal).await.unwrap();
        }
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<&str>> =
            out.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 2 * 9, "a header and eight tables, twice the same: {out}");
        assert_eq!(lines[..9], lines[9..]);
        let rows: Vec<_> = lines[1..9].iter().map(|words| (words[0], words[1])).collect();
        assert_eq!(
            rows,
            [
                ("tpch.nation", "25"),
                ("tpch.region", "5"),
                ("tpch.part", "200"),
                ("tpch.supplier", "10"),
                ("tpch.partsupp", "800"),
                ("tpch.customer", "150"),
                ("tpch.orders", "1,500"),
                ("tpch.lineitem", "6,005"),
            ]
        );
        for words in &lines[1..9] {
            assert!(fs::metadata(words[4]).unwrap().len() > 0, "{words:?}");
        }
    }
}
