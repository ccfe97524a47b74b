//! Field tables (§4.2.5.5), with the types that RabbitMQ and its clients mean: the specification's
//! letters differ, and its errata settle them. Nesting and the number of fields are bounded, so that
//! a small frame makes neither a deep recursion nor a large value.

use bytes::Bytes;

use super::read::{Field, Malformed, Reader};
use super::write::{WriteField, Writer};
use crate::message::{Table, Value};

/// How deep tables and arrays may be nested.
const NESTING: usize = 32;
/// The most fields of one table or array.
const FIELDS: usize = 8192;

/// Reads a table with its size before it.
///
/// # Errors
/// When it is malformed, nested too deeply, or has too many fields.
pub fn read_table(reader: &mut Reader<'_>) -> Result<Table, Malformed> {
    fields(inner(reader, 0)?, 0)
}

/// Reads a table that ends where `octets` do, with no size before it, as AMQPLAIN has it.
///
/// # Errors
/// As [`read_table`].
pub fn read_bare_table(octets: &[u8]) -> Result<Table, Malformed> {
    fields(Reader::new(octets), 0)
}

/// Writes a table, its size before it. Names are cut to what a short string holds.
pub fn write_table(table: &Table, writer: &mut Writer<'_>) {
    writer.sized(|writer| {
        for (name, value) in table.iter() {
            writer.short_string(name);
            write_value(value, writer);
        }
    });
}

impl Field<'_> for Table {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        read_table(reader)
    }
}

impl WriteField for Table {
    fn write(&self, writer: &mut Writer<'_>) {
        write_table(self, writer);
    }
}

fn inner<'a>(reader: &mut Reader<'a>, depth: usize) -> Result<Reader<'a>, Malformed> {
    if depth > NESTING {
        return Err(Malformed::Nesting(NESTING));
    }
    Ok(Reader::new(reader.long_string()?))
}

fn fields(mut inner: Reader<'_>, depth: usize) -> Result<Table, Malformed> {
    let mut table = Table::new();
    while !inner.is_empty() {
        if table.len() == FIELDS {
            return Err(Malformed::Fields(FIELDS));
        }
        let name = inner.short_string()?;
        table.push(name, read_value(&mut inner, depth)?);
    }
    Ok(table)
}

fn array(reader: &mut Reader<'_>, depth: usize) -> Result<Vec<Value>, Malformed> {
    let mut inner = inner(reader, depth)?;
    let mut values = Vec::new();
    while !inner.is_empty() {
        if values.len() == FIELDS {
            return Err(Malformed::Fields(FIELDS));
        }
        values.push(read_value(&mut inner, depth)?);
    }
    Ok(values)
}

fn read_value(reader: &mut Reader<'_>, depth: usize) -> Result<Value, Malformed> {
    let [letter] = reader.array()?;
    Ok(match letter {
        b't' => Value::Bool(reader.array::<1>()?[0] != 0),
        b'b' => Value::I8(i8::from_be_bytes(reader.array()?)),
        b'B' => Value::U8(u8::from_be_bytes(reader.array()?)),
        b's' => Value::I16(i16::from_be_bytes(reader.array()?)),
        b'u' => Value::U16(u16::from_be_bytes(reader.array()?)),
        b'I' => Value::I32(i32::from_be_bytes(reader.array()?)),
        b'i' => Value::U32(u32::from_be_bytes(reader.array()?)),
        b'l' => Value::I64(i64::from_be_bytes(reader.array()?)),
        b'f' => Value::F32(f32::from_be_bytes(reader.array()?)),
        b'd' => Value::F64(f64::from_be_bytes(reader.array()?)),
        b'D' => {
            let [scale] = reader.array()?;
            Value::Decimal { scale, value: u32::from_be_bytes(reader.array()?) }
        }
        b'S' => Value::Text(Bytes::copy_from_slice(reader.long_string()?)),
        b'x' => Value::Bytes(Bytes::copy_from_slice(reader.long_string()?)),
        b'T' => Value::Timestamp(u64::from_be_bytes(reader.array()?)),
        b'V' => Value::Void,
        b'F' => Value::Table(fields(inner(reader, depth + 1)?, depth + 1)?),
        b'A' => Value::Array(array(reader, depth + 1)?),
        other => return Err(Malformed::Type(other)),
    })
}

fn write_value(value: &Value, writer: &mut Writer<'_>) {
    match value {
        Value::Bool(value) => writer.tagged(b't', &[u8::from(*value)]),
        Value::I8(value) => writer.tagged(b'b', &value.to_be_bytes()),
        Value::U8(value) => writer.tagged(b'B', &value.to_be_bytes()),
        Value::I16(value) => writer.tagged(b's', &value.to_be_bytes()),
        Value::U16(value) => writer.tagged(b'u', &value.to_be_bytes()),
        Value::I32(value) => writer.tagged(b'I', &value.to_be_bytes()),
        Value::U32(value) => writer.tagged(b'i', &value.to_be_bytes()),
        Value::I64(value) => writer.tagged(b'l', &value.to_be_bytes()),
        Value::F32(value) => writer.tagged(b'f', &value.to_be_bytes()),
        Value::F64(value) => writer.tagged(b'd', &value.to_be_bytes()),
        Value::Decimal { scale, value } => {
            writer.tagged(b'D', &[*scale]);
            writer.octets(&value.to_be_bytes());
        }
        Value::Text(octets) => {
            writer.tagged(b'S', &[]);
            writer.long_string(octets);
        }
        Value::Bytes(octets) => {
            writer.tagged(b'x', &[]);
            writer.long_string(octets);
        }
        Value::Timestamp(value) => writer.tagged(b'T', &value.to_be_bytes()),
        Value::Void => writer.tagged(b'V', &[]),
        Value::Table(table) => {
            writer.tagged(b'F', &[]);
            write_table(table, writer);
        }
        Value::Array(values) => {
            writer.tagged(b'A', &[]);
            writer.sized(|writer| values.iter().for_each(|value| write_value(value, writer)));
        }
    }
}
