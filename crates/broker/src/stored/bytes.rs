//! Numbers, texts and tables as bytes: short, and read back within bounds.

use std::sync::Arc;

use bytes::Bytes;

use super::Unreadable;
use crate::message::{Table, Value};

/// How deep tables may lie in each other: deeper ones were refused at the interface.
const DEPTH: usize = 64;

/// Bytes that are written.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn finish(self) -> Bytes {
        self.0.into()
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.byte(flag.into());
    }

    /// Seven bits a byte, the lowest first; all but the last byte have the eighth.
    pub(super) fn number(&mut self, number: u64) {
        let mut rest = number;
        loop {
            let low = u8::try_from(rest & 0x7f).unwrap_or(0);
            rest >>= 7;
            if rest == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }

    pub(super) fn count(&mut self, count: usize) {
        self.number(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, text: impl AsRef<str>) {
        self.bytes(text.as_ref().as_bytes());
    }

    pub(super) fn table(&mut self, table: &Table) {
        self.count(table.len());
        for (key, value) in table.iter() {
            self.text(key);
            self.value(value);
        }
    }

    fn fixed(&mut self, kind: u8, bytes: &[u8]) {
        self.0.push(kind);
        self.0.extend_from_slice(bytes);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.fixed(b't', &[(*value).into()]),
            Value::I8(value) => self.fixed(b'b', &value.to_le_bytes()),
            Value::U8(value) => self.fixed(b'B', &value.to_le_bytes()),
            Value::I16(value) => self.fixed(b's', &value.to_le_bytes()),
            Value::U16(value) => self.fixed(b'u', &value.to_le_bytes()),
            Value::I32(value) => self.fixed(b'I', &value.to_le_bytes()),
            Value::U32(value) => self.fixed(b'i', &value.to_le_bytes()),
            Value::I64(value) => self.fixed(b'l', &value.to_le_bytes()),
            Value::F32(value) => self.fixed(b'f', &value.to_le_bytes()),
            Value::F64(value) => self.fixed(b'd', &value.to_le_bytes()),
            Value::Timestamp(value) => self.fixed(b'T', &value.to_le_bytes()),
            Value::Decimal { scale, value } => {
                self.fixed(b'D', &[*scale]);
                self.0.extend_from_slice(&value.to_le_bytes());
            }
            Value::Text(bytes) => {
                self.byte(b'S');
                self.bytes(bytes);
            }
            Value::Bytes(bytes) => {
                self.byte(b'x');
                self.bytes(bytes);
            }
            Value::Array(values) => {
                self.byte(b'A');
                self.count(values.len());
                values.iter().for_each(|value| self.value(value));
            }
            Value::Table(table) => {
                self.byte(b'F');
                self.table(table);
            }
            Value::Void => self.byte(b'V'),
        }
    }
}

/// Bytes that are read.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unreadable("it is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Unreadable("it is cut off"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Unreadable> {
        Ok(self.fixed::<1>()?[0])
    }

    pub(super) fn flag(&mut self) -> Result<bool, Unreadable> {
        Ok(self.byte()? != 0)
    }

    pub(super) fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable("a number is too long"))
    }

    /// How many follow; never more than there are bytes.
    pub(super) fn count(&mut self) -> Result<usize, Unreadable> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.0.len() { Err(Unreadable("it is cut off")) } else { Ok(count) }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        let count = self.count()?;
        self.take(count)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Unreadable> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Unreadable("a text is not UTF-8"))
    }

    /// As many as were counted.
    pub(super) fn list<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, Unreadable> {
        let count = self.count()?;
        (0..count).map(|_| read(self)).collect()
    }

    pub(super) fn table(&mut self) -> Result<Table, Unreadable> {
        self.table_at(0)
    }

    fn table_at(&mut self, depth: usize) -> Result<Table, Unreadable> {
        if depth > DEPTH {
            return Err(Unreadable("tables lie too deep in each other"));
        }
        let count = self.count()?;
        let field = |_| Ok((Arc::from(self.text()?), self.value(depth)?));
        (0..count).map(field).collect()
    }

    fn value(&mut self, depth: usize) -> Result<Value, Unreadable> {
        if depth > DEPTH {
            return Err(Unreadable("arrays lie too deep in each other"));
        }
        Ok(match self.byte()? {
            b't' => Value::Bool(self.flag()?),
            b'b' => Value::I8(i8::from_le_bytes(self.fixed()?)),
            b'B' => Value::U8(self.byte()?),
            b's' => Value::I16(i16::from_le_bytes(self.fixed()?)),
            b'u' => Value::U16(u16::from_le_bytes(self.fixed()?)),
            b'I' => Value::I32(i32::from_le_bytes(self.fixed()?)),
            b'i' => Value::U32(u32::from_le_bytes(self.fixed()?)),
            b'l' => Value::I64(i64::from_le_bytes(self.fixed()?)),
            b'f' => Value::F32(f32::from_le_bytes(self.fixed()?)),
            b'd' => Value::F64(f64::from_le_bytes(self.fixed()?)),
            b'T' => Value::Timestamp(u64::from_le_bytes(self.fixed()?)),
            b'D' => {
                let scale = self.byte()?;
                Value::Decimal { scale, value: u32::from_le_bytes(self.fixed()?) }
            }
            b'S' => Value::Text(Bytes::copy_from_slice(self.bytes()?)),
            b'x' => Value::Bytes(Bytes::copy_from_slice(self.bytes()?)),
            b'A' => {
                let count = self.count()?;
                let values: Result<_, _> = (0..count).map(|_| self.value(depth + 1)).collect();
                Value::Array(values?)
            }
            b'F' => Value::Table(self.table_at(depth + 1)?),
            b'V' => Value::Void,
            _ => return Err(Unreadable("a value is of an unknown type")),
        })
    }
}
