//! The columns of a result as `GetQueryResults` describes them.

use datafusion::arrow::datatypes::{DataType, Field};

/// One column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Athena's name of the type, without parameters.
    pub(crate) kind: &'static str,
    pub(crate) precision: u32,
    pub(crate) scale: i32,
}

impl Column {
    /// A column of a query's result.
    pub(crate) fn of(name: String, data_type: &DataType) -> Self {
        let (kind, precision, scale) = describe(data_type);
        Self { name, kind, precision, scale }
    }

    /// A column of the output of `SHOW` or `DESCRIBE`.
    pub(crate) fn text(name: &str) -> Self {
        Self { name: name.to_owned(), kind: "string", precision: 0, scale: 0 }
    }

    /// Whether comparing values of this column regards case.
    pub(crate) fn is_case_sensitive(&self) -> bool {
        matches!(self.kind, "varchar" | "char")
    }
}

fn describe(data_type: &DataType) -> (&'static str, u32, i32) {
    use DataType as T;
    match data_type {
        T::Boolean => ("boolean", 0, 0),
        T::Int8 => ("tinyint", 3, 0),
        T::Int16 | T::UInt8 => ("smallint", 5, 0),
        T::Int32 | T::UInt16 => ("integer", 10, 0),
        T::Int64 | T::UInt32 | T::UInt64 => ("bigint", 19, 0),
        T::Float16 | T::Float32 => ("float", 17, 0),
        T::Float64 => ("double", 17, 0),
        T::Decimal128(precision, scale) => ("decimal", u32::from(*precision), i32::from(*scale)),
        T::Date32 => ("date", 0, 0),
        T::Timestamp(_, None) => ("timestamp", 3, 0),
        T::Timestamp(_, Some(_)) => ("timestamp with time zone", 3, 0),
        T::Interval(_) => ("interval day to second", 0, 0),
        T::Binary | T::BinaryView | T::LargeBinary | T::FixedSizeBinary(_) => {
            ("varbinary", 1_073_741_824, 0)
        }
        T::List(_) | T::LargeList(_) | T::FixedSizeList(_, _) => ("array", 0, 0),
        T::Map(_, _) => ("map", 0, 0),
        T::Struct(_) => ("row", 0, 0),
        T::Null => ("unknown", 0, 0),
        _ => ("varchar", 2_147_483_647, 0),
    }
}

/// A type as Trino writes it, with parameters: `array(varchar)`.
pub(crate) fn trino_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Float32 => "real".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Timestamp(_, None) => "timestamp(3)".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp(3) with time zone".to_owned(),
        DataType::List(item) => format!("array({})", trino_type(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => format!(
                "map({}, {})",
                trino_type(fields[0].data_type()),
                trino_type(fields[1].data_type())
            ),
            _ => "map".to_owned(),
        },
        DataType::Struct(fields) => {
            let field = |field: &std::sync::Arc<Field>| {
                format!("{} {}", field.name(), trino_type(field.data_type()))
            };
            format!("row({})", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => describe(other).0.to_owned(),
    }
}

/// A type as Hive's DDL writes it, which `DESCRIBE` shows: `array<string>`.
pub(crate) fn hive_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Int32 => "int".to_owned(),
        DataType::Utf8 => "string".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::List(item) => format!("array<{}>", hive_type(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => format!(
                "map<{},{}>",
                hive_type(fields[0].data_type()),
                hive_type(fields[1].data_type())
            ),
            _ => "map".to_owned(),
        },
        DataType::Struct(fields) => {
            let field = |field: &std::sync::Arc<Field>| {
                format!("{}:{}", field.name(), hive_type(field.data_type()))
            };
            format!("struct<{}>", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
        other => describe(other).0.to_owned(),
    }
}
