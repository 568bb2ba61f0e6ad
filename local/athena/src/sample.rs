//! Sample data: the tables of TPC-H as Parquet files.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatchReader;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_writer::ArrowWriterOptions;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::properties::WriterProperties;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

/// Rows of a row group, which is held in memory while it is written.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// A table of sample data that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableWritten {
    /// The table's name.
    pub name: &'static str,
    /// Its file.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
}

/// Why sample data could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The directory or a file could not be made.
    #[error("making `{}`", .path.display())]
    Make {
        /// What was to be made.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// Rows could not be made.
    #[error("generating the rows of `{}`", .path.display())]
    Generate {
        /// Where they would have gone.
        path: PathBuf,
        /// Why there are none.
        source: ArrowError,
    },
    /// Rows could not be written.
    #[error("writing the rows of `{}`", .path.display())]
    Write {
        /// Where they would have gone.
        path: PathBuf,
        /// Why they did not.
        source: ParquetError,
    },
}

/// Writes the eight tables of TPC-H to `dir/<table>.parquet`; `scale` 1 is some 6 million line
/// items, a gigabyte of text.
///
/// Blocks. A row group at a time is in memory.
pub fn write_tpch(dir: &Path, scale: f64) -> Result<Vec<TableWritten>, SampleError> {
    std::fs::create_dir_all(dir)
        .map_err(|source| SampleError::Make { path: dir.to_owned(), source })?;
    Ok(vec![
        write(dir, "nation", NationArrow::new(NationGenerator::new(scale, 1, 1)))?,
        write(dir, "region", RegionArrow::new(RegionGenerator::new(scale, 1, 1)))?,
        write(dir, "part", PartArrow::new(PartGenerator::new(scale, 1, 1)))?,
        write(dir, "supplier", SupplierArrow::new(SupplierGenerator::new(scale, 1, 1)))?,
        write(dir, "partsupp", PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1)))?,
        write(dir, "customer", CustomerArrow::new(CustomerGenerator::new(scale, 1, 1)))?,
        write(dir, "orders", OrderArrow::new(OrderGenerator::new(scale, 1, 1)))?,
        write(dir, "lineitem", LineItemArrow::new(LineItemGenerator::new(scale, 1, 1)))?,
    ])
}

fn write(
    dir: &Path,
    name: &'static str,
    batches: impl RecordBatchReader,
) -> Result<TableWritten, SampleError> {
    let path = dir.join(format!("{name}.parquet"));
    let failed = |source| SampleError::Write { path: path.clone(), source };
    let file =
        File::create(&path).map_err(|source| SampleError::Make { path: path.clone(), source })?;
    let mut writer = open(file, &batches.schema()).map_err(failed)?;
    let mut rows = 0;
    for batch in batches {
        let batch = batch.map_err(|source| SampleError::Generate { path: path.clone(), source })?;
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok(TableWritten { name, path, rows })
}

/// A writer of plain Parquet, without Arrow's own notes on its types.
fn open(file: File, schema: &SchemaRef) -> Result<ArrowWriter<File>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(file, SchemaRef::clone(schema), options)
}
