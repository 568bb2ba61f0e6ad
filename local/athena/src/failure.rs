//! Why a query failed, in Athena's words: category, type, text.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

/// Where in a query's text, both numbers from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// Whose fault a failure is (`ErrorCategory`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    System,
    User,
    Other,
}

impl Category {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::System => 1,
            Self::User => 2,
            Self::Other => 3,
        }
    }
}

/// The failures that this endpoint knows, with Athena's names for them.
///
/// The numbers are those of the Athena user guide's error catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Syntax,
    TableNotFound,
    SchemaNotFound,
    CatalogNotFound,
    ColumnNotFound,
    AmbiguousName,
    FunctionNotFound,
    NotSupported,
    TypeMismatch,
    InvalidCast,
    InvalidArgument,
    OutOfRange,
    DivisionByZero,
    SubqueryRows,
    BadData,
    BucketNotFound,
    Denied,
    ResultDenied,
    ResultWrite,
    Exhausted,
    Internal,
}

impl Kind {
    /// The word that begins the message.
    fn name(self) -> &'static str {
        match self {
            Self::Syntax => "SYNTAX_ERROR",
            Self::TableNotFound => "TABLE_NOT_FOUND",
            Self::SchemaNotFound => "SCHEMA_NOT_FOUND",
            Self::CatalogNotFound => "CATALOG_NOT_FOUND",
            Self::ColumnNotFound => "COLUMN_NOT_FOUND",
            Self::AmbiguousName => "AMBIGUOUS_NAME",
            Self::FunctionNotFound => "FUNCTION_NOT_FOUND",
            Self::NotSupported => "NOT_SUPPORTED",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::InvalidCast => "INVALID_CAST_ARGUMENT",
            Self::InvalidArgument => "INVALID_FUNCTION_ARGUMENT",
            Self::OutOfRange => "NUMERIC_VALUE_OUT_OF_RANGE",
            Self::DivisionByZero => "DIVISION_BY_ZERO",
            Self::SubqueryRows => "SUBQUERY_MULTIPLE_ROWS",
            Self::BadData => "HIVE_BAD_DATA",
            Self::Denied => "PERMISSION_DENIED",
            Self::BucketNotFound | Self::ResultDenied | Self::ResultWrite => "RESULT_WRITE",
            Self::Exhausted => "EXCEEDED_LOCAL_MEMORY_LIMIT",
            Self::Internal => "GENERIC_INTERNAL_ERROR",
        }
    }

    fn number(self) -> u16 {
        match self {
            Self::Exhausted => 8,
            Self::Internal => 100,
            Self::ResultWrite => 401,
            Self::InvalidCast | Self::OutOfRange | Self::DivisionByZero | Self::SubqueryRows => {
                1001
            }
            Self::BadData => 1007,
            Self::Syntax | Self::ColumnNotFound | Self::AmbiguousName | Self::TypeMismatch => 1006,
            Self::InvalidArgument => 1100,
            Self::TableNotFound => 1110,
            Self::NotSupported => 1200,
            Self::CatalogNotFound | Self::SchemaNotFound => 1301,
            Self::FunctionNotFound => 1303,
            Self::BucketNotFound => 1306,
            Self::Denied | Self::ResultDenied => 1500,
        }
    }

    fn category(self) -> Category {
        match self {
            Self::Exhausted | Self::Internal | Self::ResultWrite => Category::System,
            _ => Category::User,
        }
    }

    /// Whether the message stands alone, without the word that begins the others.
    fn is_bare(self) -> bool {
        matches!(self, Self::Denied | Self::BucketNotFound | Self::ResultDenied | Self::ResultWrite)
    }
}

/// A failed query: what `GetQueryExecution` reports of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) category: Category,
    pub(crate) error_type: u16,
    pub(crate) retryable: bool,
    pub(crate) message: String,
}

impl Failure {
    /// A failure at an unknown place.
    pub(crate) fn new(kind: Kind, message: impl AsRef<str>) -> Self {
        let message = message.as_ref();
        let message =
            if kind.is_bare() { message.to_owned() } else { format!("{}: {message}", kind.name()) };
        Self { category: kind.category(), error_type: kind.number(), retryable: false, message }
    }

    /// A failure at a place of the query's text.
    pub(crate) fn at(kind: Kind, at: Position, message: impl AsRef<str>) -> Self {
        let Position { line, column } = at;
        Self::new(kind, format!("line {line}:{column}: {}", message.as_ref()))
    }

    /// The parser's complaint: as in Athena, without a leading word.
    pub(crate) fn syntax(at: Position, message: impl AsRef<str>) -> Self {
        let Position { line, column } = at;
        Self {
            message: format!("line {line}:{column}: {}", message.as_ref()),
            ..Self::new(Kind::Syntax, "")
        }
    }

    /// As an error that passes through DataFusion and is found again by [`Failure::from`].
    pub(crate) fn into_datafusion(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        let at = diagnosed_position(&error);
        let root = error.find_root();
        if let DataFusionError::External(source) = root
            && let Some(failure) = source.downcast_ref::<Failure>()
        {
            return failure.clone();
        }
        let make = |kind, message: String| match at {
            Some(at) => Self::at(kind, at, message),
            None => Self::new(kind, message),
        };
        match root {
            DataFusionError::SchemaError(error, _) => match error.as_ref() {
                SchemaError::FieldNotFound { field, .. } => make(
                    Kind::ColumnNotFound,
                    format!("Column '{}' cannot be resolved", field.flat_name()),
                ),
                SchemaError::AmbiguousReference { field } => {
                    make(Kind::AmbiguousName, format!("Column '{}' is ambiguous", field.name))
                }
                SchemaError::DuplicateQualifiedField { name, .. }
                | SchemaError::DuplicateUnqualifiedField { name } => {
                    make(Kind::AmbiguousName, format!("Column '{name}' is ambiguous"))
                }
            },
            DataFusionError::NotImplemented(message) => make(Kind::NotSupported, message.clone()),
            DataFusionError::ResourcesExhausted(message) => {
                Self::new(Kind::Exhausted, format!("Query exhausted resources: {message}"))
            }
            DataFusionError::ArrowError(error, _) => from_arrow(error, make),
            DataFusionError::Plan(message) if message.starts_with("Invalid function") => {
                make(Kind::FunctionNotFound, first_line(message))
            }
            DataFusionError::Plan(message) | DataFusionError::Configuration(message) => {
                make(Kind::TypeMismatch, first_line(message))
            }
            DataFusionError::Execution(message) => from_execution(message),
            DataFusionError::ParquetError(error) => Self::new(Kind::BadData, error.to_string()),
            DataFusionError::IoError(error) => Self::new(Kind::BadData, error.to_string()),
            DataFusionError::ObjectStore(error) => Self::new(Kind::BadData, error.to_string()),
            other => Self::new(Kind::Internal, first_line(&other.strip_backtrace())),
        }
    }
}

fn from_arrow(
    error: &datafusion::arrow::error::ArrowError,
    make: impl Fn(Kind, String) -> Failure,
) -> Failure {
    use datafusion::arrow::error::ArrowError;
    match error {
        ArrowError::DivideByZero => Failure::new(Kind::DivisionByZero, "Division by zero"),
        ArrowError::ArithmeticOverflow(message) => {
            Failure::new(Kind::OutOfRange, message.to_lowercase())
        }
        ArrowError::CastError(message) => Failure::new(Kind::InvalidCast, message),
        ArrowError::ParseError(message) | ArrowError::CsvError(message) => {
            Failure::new(Kind::BadData, message)
        }
        ArrowError::NotYetImplemented(message) => make(Kind::NotSupported, message.clone()),
        ArrowError::ExternalError(source) => source
            .downcast_ref::<Failure>()
            .cloned()
            .unwrap_or_else(|| Failure::new(Kind::Internal, source.to_string())),
        other => Failure::new(Kind::InvalidArgument, other.to_string()),
    }
}

fn from_execution(message: &str) -> Failure {
    if message.contains("more than one row") {
        let text = "Scalar sub-query has returned multiple rows";
        return Failure::new(Kind::SubqueryRows, text);
    }
    Failure::new(Kind::InvalidArgument, first_line(message))
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

fn diagnosed_position(error: &DataFusionError) -> Option<Position> {
    let start = error.diagnostic()?.span?.start;
    (start.line > 0).then_some(Position { line: start.line, column: start.column })
}
