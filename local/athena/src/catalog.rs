//! Databases and tables: the directories and files below the data directory.

mod csv;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{LogicalPlanBuilder, ident};
use datafusion::prelude::SessionContext;

use crate::failure::{Failure, Kind};

/// The only catalog there is.
pub(crate) const CATALOG: &str = "awsdatacatalog";

/// The data directory, looked at anew each time.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
}

impl DataDir {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The names of the databases, in order; `default` is always one.
    pub(crate) fn databases(&self) -> Vec<String> {
        let mut names: Vec<String> = self.directories().into_keys().collect();
        if !names.iter().any(|name| name == "default") {
            names.push("default".to_owned());
            names.sort();
        }
        names
    }

    /// A database, its name in lower case.
    pub(crate) fn database(&self, name: &str) -> Option<Database> {
        match self.directories().remove(name) {
            Some(directory) => Some(Database { directory }),
            None if name == "default" => Some(Database { directory: self.root.join(name) }),
            None => None,
        }
    }

    fn directories(&self) -> BTreeMap<String, PathBuf> {
        let directories = visible_entries(&self.root).into_iter();
        directories.filter(|(_, path)| path.is_dir()).collect()
    }
}

/// The databases that a data directory holds: its directories, in lower case, without hidden ones.
pub fn databases(data_dir: &Path) -> Vec<String> {
    DataDir::new(data_dir.to_owned()).directories().into_keys().collect()
}

/// The entries of a directory by their names in lower case, without hidden ones (`.`, `_`).
fn visible_entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let named = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().to_str()?.to_lowercase();
        (!name.starts_with(['.', '_'])).then(|| (name, entry.path()))
    });
    let mut named: Vec<_> = named.collect();
    named.sort();
    named
}

impl CatalogProvider for DataDir {
    fn schema_names(&self) -> Vec<String> {
        self.databases()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let database = self.database(name)?;
        Some(Arc::new(database))
    }
}

/// One database: a directory of tables.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Parquet,
    Csv,
}

impl Format {
    fn of(name: &str) -> Option<(&str, Self)> {
        let parquet = name.strip_suffix(".parquet").map(|stem| (stem, Self::Parquet));
        parquet.or_else(|| name.strip_suffix(".csv").map(|stem| (stem, Self::Csv)))
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Parquet => ".parquet",
            Self::Csv => ".csv",
        }
    }

    fn open(self) -> Arc<dyn FileFormat> {
        match self {
            Self::Parquet => Arc::new(ParquetFormat::default()),
            Self::Csv => {
                Arc::new(CsvFormat::default().with_has_header(true).with_newlines_in_values(true))
            }
        }
    }
}

/// The files of one table.
#[derive(Debug)]
struct Files {
    /// A file, or a directory of files.
    path: PathBuf,
    format: Format,
}

impl Database {
    /// The names of the tables, in order.
    pub(crate) fn tables(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }

    fn files(&self) -> BTreeMap<String, Files> {
        let mut tables = BTreeMap::new();
        for (name, path) in visible_entries(&self.directory) {
            if path.is_dir() {
                let format = visible_entries(&path)
                    .iter()
                    .find_map(|(name, _)| Format::of(name).map(|(_, format)| format));
                if let Some(format) = format {
                    tables.insert(name, Files { path, format });
                }
            } else if let Some((stem, format)) = Format::of(&name) {
                tables.insert(stem.to_owned(), Files { path, format });
            }
        }
        tables
    }
}

#[async_trait]
impl SchemaProvider for Database {
    fn table_names(&self) -> Vec<String> {
        self.tables()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.files().remove(name) {
            Some(files) => open(&files).await.map(Some),
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.files().contains_key(name)
    }
}

async fn open(files: &Files) -> Result<Arc<dyn TableProvider>> {
    let mut path = files.path.to_str().map(str::to_owned).ok_or_else(|| {
        let message = format!("the path of `{}` is not UTF-8", files.path.display());
        Failure::new(Kind::BadData, message).into_datafusion()
    })?;
    if files.path.is_dir() {
        path.push('/');
    }
    let url = ListingTableUrl::parse(&path)?;
    let extension = if files.path.is_dir() { files.format.extension() } else { "" };
    let options = ListingOptions::new(files.format.open()).with_file_extension(extension);
    let found = match files.format {
        Format::Parquet => options.infer_schema(&SessionContext::new().state(), &url).await?,
        Format::Csv => infer_csv(&files.path).await?,
    };
    let schema = SchemaRef::new(Schema::new(athena_fields(found.fields())?));
    let config =
        ListingTableConfig::new(url).with_listing_options(options).with_schema(Arc::clone(&schema));
    let table: Arc<dyn TableProvider> = Arc::new(ListingTable::try_new(config)?);
    lower_case(table, &schema)
}

/// The schema of CSV files. DataFusion's own guess fails on values that span lines.
async fn infer_csv(path: &Path) -> Result<SchemaRef> {
    let files = if path.is_dir() {
        let entries = visible_entries(path).into_iter();
        entries
            .map(|(_, path)| path)
            .filter(|path| path.extension().is_some_and(|e| e == "csv"))
            .collect()
    } else {
        vec![path.to_owned()]
    };
    let inferred = tokio::task::spawn_blocking(move || csv::infer(&files)).await;
    let inferred = inferred.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?;
    Ok(SchemaRef::new(inferred.map_err(Failure::into_datafusion)?))
}

/// A table whose columns' names are in lower case, as in Athena's catalog.
fn lower_case(table: Arc<dyn TableProvider>, schema: &Schema) -> Result<Arc<dyn TableProvider>> {
    let is_lower = |field: &Arc<Field>| *field.name() == field.name().to_lowercase();
    if schema.fields().iter().all(is_lower) {
        return Ok(table);
    }
    let columns =
        schema.fields().iter().map(|field| ident(field.name()).alias(field.name().to_lowercase()));
    let plan = LogicalPlanBuilder::scan("files", provider_as_source(table), None)?
        .project(columns.collect::<Vec<_>>())?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn athena_fields(fields: &Fields) -> Result<Fields> {
    fields.iter().map(athena_field).collect()
}

fn athena_field(field: &Arc<Field>) -> Result<Field> {
    Ok(Field::new(field.name(), athena_type(field.data_type())?, true))
}

/// The type that Athena has for what is in a file.
///
/// # Errors
///
/// There is none.
fn athena_type(data_type: &DataType) -> Result<DataType> {
    use DataType as T;
    let item = |field: &Arc<Field>| Ok::<_, DataFusionError>(Arc::new(athena_field(field)?));
    Ok(match data_type {
        T::Utf8 | T::Utf8View | T::LargeUtf8 | T::Null => T::Utf8,
        T::Binary | T::BinaryView | T::LargeBinary | T::FixedSizeBinary(_) => T::Binary,
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Float16 => T::Float32,
        T::Date64 => T::Date32,
        T::Timestamp(_, _) => T::Timestamp(TimeUnit::Millisecond, None),
        T::Dictionary(_, values) => athena_type(values)?,
        T::List(field) | T::LargeList(field) | T::FixedSizeList(field, _) => T::List(item(field)?),
        T::Struct(fields) => T::Struct(athena_fields(fields)?),
        T::Map(entries, sorted) => match entries.data_type() {
            T::Struct(fields) if fields.len() == 2 => {
                let key = Field::new(fields[0].name(), athena_type(fields[0].data_type())?, false);
                let pair = T::Struct(vec![Arc::new(key), item(&fields[1])?].into());
                T::Map(Arc::new(Field::new(entries.name(), pair, false)), *sorted)
            }
            _ => return Err(unknown_type(data_type)),
        },
        T::Boolean
        | T::Int8
        | T::Int16
        | T::Int32
        | T::Int64
        | T::Float32
        | T::Float64
        | T::Date32
        | T::Decimal128(_, _) => data_type.clone(),
        _ => return Err(unknown_type(data_type)),
    })
}

fn unknown_type(data_type: &DataType) -> DataFusionError {
    let message = format!("Athena has no type for values of `{data_type}`");
    Failure::new(Kind::NotSupported, message).into_datafusion()
}
