//! The `.metadata` object beside a result.
//!
//! Athena's is an undocumented message in protobuf's wire format that lists the columns; clients
//! treat it as opaque. Ours lists the same facts in the same wire format.

use crate::columns::Column;

const CATALOG: u32 = 1;
const NAME: u32 = 4;
const LABEL: u32 = 5;
const TYPE: u32 = 6;
const PRECISION: u32 = 7;
const SCALE: u32 = 8;
const NULLABLE: u32 = 9;
const CASE_SENSITIVE: u32 = 10;
const NULLABLE_UNKNOWN: u64 = 3;

/// The metadata object of a result.
pub(crate) fn encode(query_execution_id: &str, columns: &[Column]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, query_execution_id.as_bytes());
    for column in columns {
        put_bytes(&mut out, 4, &encode_column(column));
    }
    out
}

fn encode_column(column: &Column) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, CATALOG, b"hive");
    put_bytes(&mut out, NAME, column.name.as_bytes());
    put_bytes(&mut out, LABEL, column.name.as_bytes());
    put_bytes(&mut out, TYPE, column.kind.as_bytes());
    put_number(&mut out, PRECISION, u64::from(column.precision));
    put_number(&mut out, SCALE, u64::from(column.scale.unsigned_abs()));
    put_number(&mut out, NULLABLE, NULLABLE_UNKNOWN);
    put_number(&mut out, CASE_SENSITIVE, u64::from(column.is_case_sensitive()));
    out
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field << 3));
    put_varint(out, number);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}
