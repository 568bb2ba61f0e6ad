//! From Athena's result object to the run's CSV.

use std::path::Path;

use aws_io::{ObjectStream, ObjectWriter, Storage, StorageError};
use job::{
    S3Location,
    record::CsvFile,
    states::{PlannedQuery, Run},
};
use sha2::{Digest, Sha256};

use crate::{
    ExecuteError,
    csv::{CsvError, Transform},
};

/// Streams the result through the transform: one chunk of S3 and the writer's parts in memory.
pub(crate) async fn write_csv(
    storage: &Storage,
    run: &Run,
    query: &PlannedQuery,
    output_location: &str,
) -> Result<CsvFile, ExecuteError> {
    let name = &query.name;
    let no_result_set = || ExecuteError::NoResultSet {
        query: name.clone(),
        output_location: output_location.to_owned(),
    };
    let in_storage = |source| ExecuteError::Storage { query: name.clone(), source };

    let result: S3Location = output_location.parse().map_err(|_| no_result_set())?;
    // Athena writes `.csv` for a result set and `.txt` for the output of DDL and utility statements.
    if Path::new(&result.key).extension().is_none_or(|extension| extension != "csv") {
        return Err(no_result_set());
    }
    let mut source = storage.get_stream(&result, None).await.map_err(in_storage)?;
    let location = run.layout().csv(name);
    let mut writer = storage.writer(location.clone(), "text/csv; charset=utf-8");
    let transform = Transform::new(run.csv.clone());
    let (rows, sha256) = match rewrite(&mut source, transform, &mut writer).await {
        Ok(written) => written,
        Err(fault) => {
            writer.abort().await;
            return Err(match fault {
                Fault::Storage(source) => in_storage(source),
                Fault::Csv(source) => ExecuteError::Result { query: name.clone(), source },
            });
        }
    };
    let info = writer.finish().await.map_err(in_storage)?;
    Ok(CsvFile { location, etag: info.etag, rows, size_bytes: info.size_bytes, sha256 })
}

enum Fault {
    Storage(StorageError),
    Csv(CsvError),
}

/// Sends the whole result through the transform; gives the number of rows and the SHA-256.
async fn rewrite(
    source: &mut ObjectStream,
    mut transform: Transform,
    writer: &mut ObjectWriter,
) -> Result<(u64, String), Fault> {
    let mut digest = Sha256::new();
    let mut out = Vec::new();
    while let Some(chunk) = source.next_chunk().await.map_err(Fault::Storage)? {
        transform.push(&chunk, &mut out).map_err(Fault::Csv)?;
        digest.update(&out);
        writer.write(&out).await.map_err(Fault::Storage)?;
        out.clear();
    }
    let rows = transform.finish().map_err(Fault::Csv)?;
    Ok((rows, format!("{:x}", digest.finalize())))
}
