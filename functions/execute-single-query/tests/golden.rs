//! What a recipient gets for what Athena wrote, byte for byte: a folder of `tests/golden` for each
//! clause, with `athena.csv`, perhaps the job's `options.json`, and either `delivered.csv` or the
//! text of the error.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use execute_single_query::{CsvError, Transform};
use job::CsvOptions;

const CHUNK_BYTES: [usize; 8] = [1, 2, 3, 7, 63, 64, 1000, usize::MAX];

#[test]
fn every_clause_gives_its_golden_file_however_the_result_is_cut() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let clauses: Vec<PathBuf> =
        fs::read_dir(&golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!clauses.is_empty(), "`{}` has no clauses", golden.display());
    for clause in clauses {
        check(&clause);
    }
}

#[track_caller]
fn check(clause: &Path) {
    let options = file(clause, "options.json").map_or_else(CsvOptions::default, |json| {
        serde_json::from_slice(&json)
            .unwrap_or_else(|error| panic!("{}: {error}", clause.display()))
    });
    let result = file(clause, "athena.csv")
        .unwrap_or_else(|| panic!("`{}` has no athena.csv", clause.display()));
    let expected = match (file(clause, "delivered.csv"), file(clause, "error.txt")) {
        (Some(csv), None) => Ok(csv),
        (None, Some(error)) => Err(String::from_utf8(error).unwrap().trim_end().to_owned()),
        _ => panic!("`{}` needs one of delivered.csv and error.txt", clause.display()),
    };
    for chunk_bytes in CHUNK_BYTES {
        let delivered =
            transform(&options, &result, chunk_bytes).map_err(|error| error.to_string());
        assert!(
            delivered == expected,
            "{} in chunks of {chunk_bytes}:\n got {}\nnot {}",
            clause.display(),
            shown(&delivered),
            shown(&expected),
        );
    }
}

fn transform(options: &CsvOptions, result: &[u8], chunk_bytes: usize) -> Result<Vec<u8>, CsvError> {
    let mut transform = Transform::new(options.clone());
    let mut csv = Vec::new();
    for chunk in result.chunks(chunk_bytes) {
        transform.push(chunk, &mut csv)?;
    }
    transform.finish()?;
    Ok(csv)
}

fn file(clause: &Path, name: &str) -> Option<Vec<u8>> {
    match fs::read(clause.join(name)) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("reading `{name}` of `{}`: {error}", clause.display()),
    }
}

/// Short enough to read, whatever the file's size.
fn shown(delivered: &Result<Vec<u8>, String>) -> String {
    match delivered {
        Ok(csv) => format!("{} bytes: {:.400}", csv.len(), csv.escape_ascii().to_string()),
        Err(error) => error.clone(),
    }
}
