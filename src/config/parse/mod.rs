//! Parsing: `yaml` makes a tree of the text, `deserializer` reads the tree into raw structs with serde, and `located`
//! keeps the location of each value, so that an error can name file, line and column.

pub(super) mod deserializer;
pub(super) mod located;
pub(super) mod yaml;
