//! A condition for a field: `FIELD OP VALUE`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::field::Fields;

/// The longest condition, in bytes: as long as an expression of a filter.
const MAX_CONDITION_SIZE: usize = 4 << 10;

/// A condition for a field of a line, such as `status>=500`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    field: String,
    operator: ConditionOperator,
    value: String,
}

/// The comparison of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConditionOperator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl ConditionOperator {
    /// All operators, longer ones before those that they begin with.
    const ALL: [(&'static str, Self); 6] = [
        ("!=", Self::NotEqual),
        (">=", Self::GreaterOrEqual),
        ("<=", Self::LessOrEqual),
        ("=", Self::Equal),
        (">", Self::Greater),
        ("<", Self::Less),
    ];
}

/// A text that is not a [`Condition`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCondition {
    /// The text has no operator.
    #[error("no operator; use FIELD OP VALUE with =, !=, >, >=, < or <=, such as status>=500")]
    NoOperator,
    /// Nothing is before the operator.
    #[error("no field before the operator; use FIELD OP VALUE, such as status>=500")]
    NoField,
    /// The operator is that of many programming languages.
    #[error("== is not an operator; use =")]
    DoubleEqual,
    /// The text is too long.
    #[error("the condition has {0} bytes; the limit is {MAX_CONDITION_SIZE}")]
    TooLong(usize),
}

impl Condition {
    /// Returns whether the condition holds. Numbers are compared as such if the value of the field is one, too. Without
    /// the field, only `!=` holds.
    pub fn holds(&self, fields: &Fields) -> bool {
        let Some(value) = fields.get(&self.field) else { return self.operator == ConditionOperator::NotEqual };
        let order = value.compare(&self.value);
        match self.operator {
            ConditionOperator::Equal => order == Ordering::Equal,
            ConditionOperator::NotEqual => order != Ordering::Equal,
            ConditionOperator::Less => order == Ordering::Less,
            ConditionOperator::LessOrEqual => order != Ordering::Greater,
            ConditionOperator::Greater => order == Ordering::Greater,
            ConditionOperator::GreaterOrEqual => order != Ordering::Less,
        }
    }
}

impl FromStr for Condition {
    type Err = BadCondition;

    fn from_str(text: &str) -> Result<Self, BadCondition> {
        if text.len() > MAX_CONDITION_SIZE {
            return Err(BadCondition::TooLong(text.len()));
        }
        // The first operator counts, so that values may contain any character.
        let found = text.char_indices().find_map(|(at, _)| {
            let (field, rest) = text.split_at(at);
            ConditionOperator::ALL
                .iter()
                .find_map(|(name, operator)| Some((field, *operator, rest.strip_prefix(name)?)))
        });
        let (field, operator, value) = found.ok_or(BadCondition::NoOperator)?;
        if operator == ConditionOperator::Equal && value.starts_with('=') {
            return Err(BadCondition::DoubleEqual);
        }
        let (field, value) = (field.trim(), value.trim());
        if field.is_empty() {
            return Err(BadCondition::NoField);
        }
        Ok(Self { field: field.to_owned(), operator, value: value.to_owned() })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ConditionOperator::ALL
            .iter()
            .find(|(_, operator)| *operator == self.operator)
            .map_or("=", |(name, _)| name);
        write!(f, "{}{name}{}", self.field, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structured::field::DeclaredValue;

    #[test]
    fn conditions_compare_numbers_as_numbers_and_the_rest_as_text() {
        let mut fields = Fields::default();
        for (name, json) in [("status", "500"), ("took", "1.50"), ("big", "12345678901234567891"), ("ok", "true")] {
            fields.push(name.to_owned(), DeclaredValue::Json(json.to_owned()));
        }
        for (name, text) in [("code", "0012"), ("user", "bob"), ("http.path", "/a=b>c"), ("version", "1.10.0")] {
            fields.push(name.to_owned(), DeclaredValue::Text(text.to_owned()));
        }
        let table = [
            ("status=500", true),
            ("status=500.0", true),
            ("status!=500", false),
            ("status>=500", true),
            ("status > 499", true),
            ("status<1000", true),
            ("status<=99", false),
            ("status>5xx", false),
            ("took=1.5", true),
            ("took<1e1", true),
            ("big=12345678901234567890", false),
            ("big>12345678901234567890", true),
            ("code=12", true),
            ("user=bob", true),
            ("user=Bob", false),
            ("user>alice", true),
            ("user<=bob", true),
            ("user=", false),
            ("user!=", true),
            ("ok=true", true),
            ("http.path=/a=b>c", true),
            ("version=1.10.0", true),
            ("version<1.9.0", true),
            ("user>inf", false),
            ("none=1", false),
            ("none!=1", true),
            ("none>=0", false),
            ("none<9", false),
            ("none=", false),
        ];
        for (text, holds) in table {
            let condition: Condition = text.parse().unwrap();
            assert_eq!(condition.holds(&fields), holds, "{text}");
            assert_eq!(condition.to_string().parse(), Ok(condition), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_condition_says_what_would_be() {
        let long = "a=".to_owned() + &"b".repeat(MAX_CONDITION_SIZE);
        let table = [
            ("status", BadCondition::NoOperator),
            ("", BadCondition::NoOperator),
            ("a!b", BadCondition::NoOperator),
            (">=500", BadCondition::NoField),
            (" =1", BadCondition::NoField),
            ("a==1", BadCondition::DoubleEqual),
            (&long, BadCondition::TooLong(long.len())),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Condition>(), Err(error), "{text:.20}");
        }
    }
}
