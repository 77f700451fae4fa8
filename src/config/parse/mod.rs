//! Parsing: `yaml` makes a tree of the text, `deserializer` reads the tree into raw structs with serde, and `located`
//! keeps the location of each value, so that an error can name file, line and column. `foreign_keys` knows what other
//! tools call the keys.

pub(super) mod deserializer;
mod foreign_keys;
pub(super) mod located;
pub(super) mod yaml;
