//! What the engine says of a service (`health/service/:name`), as it is read and kept, and the way
//! into our own types. What we do not know is left out; what is missing is as if it were empty.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::state::{
    CheckDefinition, CheckKind, Instance, NewCheck, Node, ServiceAddress, Status, Weights,
};

/// One instance with its node and checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Entry {
    pub(super) node: NodeSaid,
    pub(super) service: ServiceSaid,
    #[serde(deserialize_with = "or_default")]
    pub(super) checks: Vec<CheckSaid>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NodeSaid {
    #[serde(rename = "ID", deserialize_with = "or_default")]
    id: String,
    pub(super) node: String,
    address: String,
    #[serde(deserialize_with = "or_default")]
    tagged_addresses: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    meta: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ServiceSaid {
    #[serde(rename = "ID")]
    pub(super) id: String,
    service: String,
    #[serde(deserialize_with = "or_default")]
    tags: Vec<String>,
    address: String,
    #[serde(deserialize_with = "or_default")]
    tagged_addresses: BTreeMap<String, AddressSaid>,
    #[serde(deserialize_with = "or_default")]
    meta: BTreeMap<String, String>,
    port: i64,
    #[serde(deserialize_with = "or_default")]
    weights: WeightsSaid,
    enable_tag_override: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct AddressSaid {
    address: String,
    port: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct WeightsSaid {
    passing: i64,
    warning: i64,
}

impl Default for WeightsSaid {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct CheckSaid {
    #[serde(rename = "CheckID")]
    check_id: String,
    name: String,
    status: String,
    notes: String,
    output: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
    r#type: String,
}

/// Keys with their values. Those that are no text are nobody's configuration, and are left out.
pub(super) type Pairs = BTreeMap<String, String>;

/// A key with its value.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct KeySaid {
    key: String,
    /// In base64.
    value: Option<String>,
}

impl KeySaid {
    pub(super) fn to_pairs(all: Vec<Self>) -> Pairs {
        let text = |said: Self| {
            let value = STANDARD.decode(said.value.unwrap_or_default()).ok()?;
            Some((said.key, String::from_utf8(value).ok()?))
        };
        all.into_iter().filter_map(text).collect()
    }
}

impl NodeSaid {
    pub(super) fn to_node(&self) -> Node {
        Node {
            name: self.node.as_str().into(),
            id: self.id.clone(),
            address: self.address.clone(),
            tagged_addresses: self.tagged_addresses.clone(),
            meta: self.meta.clone(),
        }
    }
}

impl ServiceSaid {
    pub(super) fn to_instance(&self, service: &str) -> Instance {
        let addresses = self.tagged_addresses.iter().map(|(tag, said)| {
            let address = said.address.clone();
            (tag.clone(), ServiceAddress { address, port: port(said.port) })
        });
        Instance {
            id: self.id.as_str().into(),
            service: service.into(),
            tags: self.tags.clone(),
            address: self.address.clone(),
            port: port(self.port),
            meta: self.meta.clone(),
            weights: Weights {
                passing: u32::try_from(self.weights.passing).unwrap_or(1).max(1),
                warning: u32::try_from(self.weights.warning).unwrap_or(0),
            },
            tagged_addresses: addresses.collect(),
            enable_tag_override: self.enable_tag_override,
        }
    }
}

impl CheckSaid {
    /// Whether it is about the whole node.
    pub(super) fn is_of_node(&self) -> bool {
        self.service_id.is_empty()
    }

    pub(super) fn to_check(&self) -> NewCheck {
        let instance = (!self.is_of_node()).then(|| self.service_id.as_str().into());
        let definition = CheckDefinition {
            id: self.check_id.as_str().into(),
            name: self.name.clone(),
            notes: self.notes.clone(),
            instance,
            // Its owner makes it; all that we know is how it stands.
            kind: CheckKind::External(self.r#type.clone()),
            deregister_after: None,
        };
        let status = Status::parse(&self.status).unwrap_or(Status::Critical);
        NewCheck { definition, status: Some(status), output: self.output.clone() }
    }
}

fn port(said: i64) -> u16 {
    u16::try_from(said).unwrap_or(0)
}

/// Go writes what is empty as `null`.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_as_if_it_were_empty() {
        let text = r#"[{"Node": {"Node": "n1", "Address": "10.0.0.1", "Meta": null},
            "Service": {"ID": "w", "Service": "web", "Tags": null, "Port": 80, "Proxy": {}},
            "Checks": [{"Node": "n1", "CheckID": "serfHealth", "Status": "passing"}]},
            {"Service": {"ID": "x", "Port": -1, "Weights": {"Passing": 0, "Warning": -3}},
             "Checks": null}]"#;
        let entries: Vec<Entry> = serde_json::from_str(text).expect("entries");
        let instance = entries[0].service.to_instance("web");
        assert_eq!((instance.port, instance.weights), (80, Weights::default()));
        assert!(entries[0].checks[0].is_of_node());
        let strange = entries[1].service.to_instance("web");
        assert_eq!((strange.port, strange.weights), (0, Weights { passing: 1, warning: 0 }));
        let kept = serde_json::to_string(&entries).expect("text");
        assert_eq!(serde_json::from_str::<Vec<Entry>>(&kept).expect("entries"), entries);
    }
}
