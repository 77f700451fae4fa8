//! From YAML to raw structs, with the position of everything: `yaml` makes a tree of the text, `deserializer` reads the tree with serde,
//! and `located` keeps for each value where it stands, so that an error can name file, line and column.

pub(super) mod deserializer;
pub(super) mod located;
pub(super) mod yaml;
