//! The fields `Signature-Input` and `Signature` of a request (RFC 9421 §4), and the base over which a
//! signature is made (§2.5).

use std::collections::HashSet;
use std::convert::Infallible;

use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored};
use sfv::{FieldType as _, InnerList, KeyRef, ListEntry, Parser};

use super::component::{Component, Unsigned};
use super::settings::Structures;
use crate::credential::Credentials;

/// The most signatures of a request that are looked at.
const SIGNATURES: usize = 8;

/// The most components that one signature may cover.
const COMPONENTS: usize = 64;

/// The most bytes that both fields may have together.
const BYTES: usize = 16 << 10;

/// A signature, as the request brings it.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(super) components: Vec<(Component, String)>,
    pub(super) parameters: Parameters,
    /// How the parameters were written, strictly: the last line of the base.
    written: String,
    pub(super) signature: Vec<u8>,
}

/// What a signature says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// In seconds since 1970.
    pub(super) created: Option<u64>,
    /// In seconds since 1970.
    pub(super) expires: Option<u64>,
    pub(super) nonce: Option<String>,
    pub(super) algorithm: Option<String>,
    pub(super) key: Option<String>,
    pub(super) tag: Option<String>,
}

/// What there is of signatures in a request.
#[derive(Debug)]
pub(crate) enum Found {
    /// Neither field.
    None,
    /// Fields that cannot be read, or only one of the two, or two signatures of one name.
    Unreadable,
    /// What can be read, in order.
    All(Vec<Signed>),
}

impl Found {
    /// Those of `request`.
    pub(crate) fn of(request: &Credentials<'_>) -> Self {
        let (inputs, signatures) =
            (joined(request, "signature-input"), joined(request, "signature"));
        match (inputs, signatures) {
            (None, None) => Self::None,
            (Some(inputs), Some(signatures)) if inputs.len() + signatures.len() <= BYTES => {
                read(&inputs, &signatures).map_or(Self::Unreadable, Self::All)
            }
            _ => Self::Unreadable,
        }
    }
}

impl Signed {
    /// What was signed (§2.5). Every component must be in the request.
    pub(crate) fn base(
        &self,
        request: &Credentials<'_>,
        structures: &Structures,
    ) -> Result<Vec<u8>, Unsigned> {
        let mut base = Vec::with_capacity(512);
        for (component, written) in &self.components {
            base.extend_from_slice(written.as_bytes());
            base.extend_from_slice(b": ");
            component.write(request, structures, &mut base)?;
            base.push(b'\n');
        }
        base.extend_from_slice(b"\"@signature-params\": ");
        base.extend_from_slice(self.written.as_bytes());
        // A line that ends within a value would be a component that nobody covered.
        let lines = base.iter().filter(|byte| **byte == b'\n').count();
        let plain = base.iter().all(|byte| byte.is_ascii() && *byte != b'\r' && *byte != 0);
        if plain && lines == self.components.len() { Ok(base) } else { Err(Unsigned::Value) }
    }
}

/// All lines of a field as one.
fn joined(request: &Credentials<'_>, name: &str) -> Option<Vec<u8>> {
    let mut all: Option<Vec<u8>> = None;
    request.fields.named(name, &mut |line| match &mut all {
        Some(all) => {
            all.extend_from_slice(b", ");
            all.extend_from_slice(line);
        }
        None => all = Some(line.to_vec()),
    });
    all
}

fn read(inputs: &[u8], signatures: &[u8]) -> Option<Vec<Signed>> {
    if !(names_are_unique(inputs) && names_are_unique(signatures)) {
        return None;
    }
    let inputs: sfv::Dictionary = Parser::new(inputs).parse().ok()?;
    let mut signatures: sfv::Dictionary = Parser::new(signatures).parse().ok()?;
    if inputs.len() > SIGNATURES {
        return None;
    }
    let mut all = Vec::with_capacity(inputs.len());
    for (label, input) in inputs {
        let ListEntry::InnerList(input) = input else { return None };
        let ListEntry::Item(item) = signatures.swap_remove(&label)? else { return None };
        let signature = item.bare_item.as_byte_sequence()?.to_vec();
        // One that is not for us need not be understood.
        all.extend(signed(input, signature));
    }
    Some(all)
}

/// A signature; `None` when it covers what is not understood, or the same twice.
fn signed(input: InnerList, signature: Vec<u8>) -> Option<Signed> {
    if input.items.len() > COMPONENTS {
        return None;
    }
    let parameters = Parameters::of(&input)?;
    let mut seen = HashSet::new();
    let mut components = Vec::with_capacity(input.items.len());
    for item in &input.items {
        let component = Component::of(item).ok()?;
        if !seen.insert(component.clone()) {
            return None;
        }
        components.push((component, item.serialize()));
    }
    let written = vec![ListEntry::InnerList(input)].serialize()?;
    Some(Signed { components, parameters, written, signature })
}

impl Parameters {
    /// `None` when one of those that are known is not of its type. Others are signed all the same, and
    /// mean nothing to us.
    fn of(input: &InnerList) -> Option<Self> {
        let mut all = Self::default();
        for (name, value) in &input.params {
            let text = || value.as_string().map(|text| text.as_str().to_owned());
            let time = || u64::try_from(i64::from(value.as_integer()?)).ok();
            match name.as_str() {
                "created" => all.created = Some(time()?),
                "expires" => all.expires = Some(time()?),
                "nonce" => all.nonce = Some(text()?),
                "alg" => all.algorithm = Some(text()?),
                "keyid" => all.key = Some(text()?),
                "tag" => all.tag = Some(text()?),
                _ => {}
            }
        }
        Some(all)
    }
}

/// Of two members of one name a reader of structured fields takes the last. Whoever signs sends each
/// once, so two are an attempt to be read differently by two readers.
fn names_are_unique(field: &[u8]) -> bool {
    struct Names<'de>(HashSet<&'de str>, bool);

    impl<'de> DictionaryVisitor<'de> for Names<'de> {
        type Out = bool;
        type Error = Infallible;

        fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Infallible> {
            self.1 &= self.0.insert(key.as_str());
            Ok(Ignored)
        }

        fn finish(self) -> Result<bool, Infallible> {
            Ok(self.1)
        }
    }
    let names = Names(HashSet::new(), true);
    Parser::new(field).parse_dictionary_with_visitor(names).unwrap_or(false)
}
