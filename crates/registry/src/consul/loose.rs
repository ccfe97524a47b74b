//! JSON as Consul's clients write it. Consul reads bodies with rules that are laxer than serde's:
//! a field's case and underscores do not matter (`tls_skip_verify` is `TLSSkipVerify`), `null` is
//! the same as absent, and what is unknown is skipped. Keys of maps stay as written.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// Reads a `T` by those rules.
pub(crate) fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let value: Value = serde_json::from_slice(body)?;
    T::deserialize(Loose(value))
}

/// Whether a key names a field of ours.
fn same(key: &str, field: &str) -> bool {
    let plain = |text: &str| {
        text.bytes().filter(|b| *b != b'_').map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>()
    };
    plain(key) == plain(field)
}

struct Loose(Value);

impl<'de> Deserializer<'de> for Loose {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(elements) => {
                visitor.visit_seq(SeqDeserializer::new(elements.into_iter().map(Loose)))
            }
            Value::Object(map) => {
                let entries = map.into_iter().map(|(key, value)| (key, Loose(value)));
                visitor.visit_map(MapDeserializer::new(entries))
            }
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let map = match self.0 {
            Value::Object(map) => map,
            // Not a struct as serde would also read it, by position.
            Value::Array(_) => return Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            other => return other.deserialize_struct(name, fields, visitor),
        };
        let mut known: Vec<(&'static str, Value)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            let Some(field) = fields.iter().find(|field| same(&key, field)) else { continue };
            known.retain(|(earlier, _)| earlier != field);
            if !value.is_null() {
                known.push((*field, value));
            }
        }
        let known = known.into_iter().map(|(field, value)| (field, Loose(value)));
        visitor.visit_map(MapDeserializer::new(known))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Loose {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Outer {
        #[serde(rename = "TLSSkipVerify")]
        tls_skip_verify: bool,
        meta: BTreeMap<String, String>,
        inner: Option<Box<Outer>>,
        list: Vec<Outer>,
    }

    #[test]
    fn case_and_underscores_do_not_matter_in_fields_at_any_depth_but_do_in_maps() {
        let body = br#"{
            "tls_skip_verify": true, "what": [1], "META": {"tls_skip_verify": "x", "A": "y"},
            "inner": {"tlsskipverify": true, "meta": null, "inner": null},
            "List": [{"Tls_Skip_Verify": false, "TLSSkipVerify": true}]
        }"#;
        let read: Outer = from_slice(body).expect("as Consul reads it");
        let skip = || Outer { tls_skip_verify: true, ..Outer::default() };
        let meta = [("tls_skip_verify", "x"), ("A", "y")];
        let meta = meta.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(
            read,
            Outer { meta, inner: Some(Box::new(skip())), list: vec![skip()], ..skip() }
        );
    }

    #[test]
    fn a_wrong_type_is_an_error() {
        assert!(from_slice::<Outer>(br#"{"TLSSkipVerify": "yes"}"#).is_err());
        assert!(from_slice::<Outer>(br#"[]"#).is_err());
        assert!(from_slice::<Outer>(b"{").is_err());
    }
}
