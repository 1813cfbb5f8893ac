//! The options of a store, as given in `agent.toml` and on the command line.

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// Options of an object store. Values are not shown: they may be credentials.
#[derive(Clone, Default)]
pub struct StoreOptions(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for StoreOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Options;

        impl<'de> Visitor<'de> for Options {
            type Value = StoreOptions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("options of the store by name")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<StoreOptions, M::Error> {
                let mut options = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let OptionValue(value) = map.next_value()?;
                    let value = value.ok_or_else(|| {
                        M::Error::custom(format!("the value of `{name}` is text: put it in quotes"))
                    })?;
                    options.insert(name, value);
                }
                Ok(StoreOptions(options))
            }
        }

        deserializer.deserialize_map(Options)
    }
}

/// The value of an option: text, or a TOML boolean. `None` for anything else.
#[derive(Deserialize)]
#[serde(from = "toml::Value")]
struct OptionValue(Option<String>);

impl From<toml::Value> for OptionValue {
    fn from(value: toml::Value) -> Self {
        Self(match value {
            toml::Value::String(text) => Some(text),
            toml::Value::Boolean(yes) => Some(yes.to_string()),
            _ => None,
        })
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
