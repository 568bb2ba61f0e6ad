//! The types of CSV files' columns, guessed from their first records.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use datafusion::arrow::csv::reader::Format;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;

use crate::failure::{Failure, Kind};

/// Records of each file that are looked at.
const RECORDS_MAX: usize = 1000;

/// The schema that fits all of the files, which must have as many columns each. The names are
/// those of the first file. Blocks.
pub(super) fn infer(files: &[PathBuf]) -> Result<Schema, Failure> {
    let mut merged: Option<Vec<Field>> = None;
    for path in files {
        let found = infer_one(path)
            .map_err(|error| Failure::new(Kind::BadData, format!("{}: {error}", name(path))))?;
        let found = found.fields().iter().map(|field| field.as_ref().clone());
        merged = Some(match merged {
            None => found.collect(),
            Some(known) if known.len() == found.len() => {
                known.into_iter().zip(found).map(|(known, found)| widen(known, &found)).collect()
            }
            Some(known) => {
                let (known, found) = (known.len(), found.len());
                let message = format!("{}: {found} columns, of {known}", name(path));
                return Err(Failure::new(Kind::BadData, message));
            }
        });
    }
    Ok(Schema::new(merged.unwrap_or_default()))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn infer_one(path: &Path) -> Result<Schema, ArrowError> {
    let file = BufReader::new(File::open(path)?);
    let (schema, _) = Format::default().with_header(true).infer_schema(file, Some(RECORDS_MAX))?;
    Ok(schema)
}

/// The type that holds the values of both columns.
fn widen(known: Field, found: &Field) -> Field {
    let data_type = match (known.data_type(), found.data_type()) {
        (known, found) if known == found || found.is_null() => known.clone(),
        (DataType::Null, found) => found.clone(),
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => {
            DataType::Float64
        }
        _ => DataType::Utf8,
    };
    known.with_data_type(data_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_all_files_need() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = [
            write("1.csv", "a,b,c,d\n1,1,2024-01-01,\n"),
            write("2.csv", "a,b,c,d\n2,1.5,x,true\n"),
        ];
        let schema = infer(&files).unwrap();
        let types: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
        assert_eq!(
            types,
            [&DataType::Int64, &DataType::Float64, &DataType::Utf8, &DataType::Boolean]
        );
        let narrow = write("3.csv", "a\n1\n");
        let failure = infer(&[files[0].clone(), narrow]).unwrap_err();
        assert_eq!(failure.message, "HIVE_BAD_DATA: 3.csv: 1 columns, of 4");
    }
}
