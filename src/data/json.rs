//! A JSON value as it stands in a file: keys in their order and none of them twice, texts borrowed where nothing is
//! escaped.

use super::json_faults;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use std::borrow::Cow;
use std::fmt;

/// Keys with their values.
pub(crate) type Object<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Object(Object<'a>),
}

/// What is wrong with a text that should be JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonFault {
    /// Line breaks before the fault.
    pub lines: u64,
    /// What is wrong and what to do.
    pub problem: String,
}

impl<'a> Json<'a> {
    /// Reads one value.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, JsonFault> {
        serde_json::from_slice(bytes).map_err(|error| match json_faults::find(bytes) {
            Some((at, problem)) => {
                JsonFault { lines: bytes[..at].iter().map(|&b| u64::from(b == b'\n')).sum(), problem }
            }
            None => JsonFault { lines: error.line().saturating_sub(1) as u64, problem: without_position(&error) },
        })
    }

    /// The text, where it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether nothing is said: null, or an empty text, list or object.
    pub(crate) fn is_nothing(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(_) | Self::Number(_) => false,
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Object(fields) => fields.is_empty(),
        }
    }
}

/// The value under `key`.
pub(crate) fn field<'j, 'a>(object: &'j Object<'a>, key: &str) -> Option<&'j Json<'a>> {
    object.iter().find(|(k, _)| k == key).map(|(_, value)| value)
}

/// What a value is, for messages.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "the number {number}"),
            Self::Text(text) if text.is_empty() => f.write_str("an empty text"),
            Self::Text(text) => {
                let short: String = text.chars().take(40).collect();
                write!(f, "the text {short:?}{}", if short.len() < text.len() { " ..." } else { "" })
            }
            Self::List(items) if items.is_empty() => f.write_str("an empty list"),
            Self::List(items) => write!(f, "a list of {}", items.len()),
            Self::Object(fields) if fields.is_empty() => f.write_str("an empty object"),
            Self::Object(fields) => {
                let keys: Vec<_> = fields.iter().take(3).map(|(key, _)| format!("{key:?}")).collect();
                write!(f, "an object with {}{}", keys.join(", "), if fields.len() > 3 { ", ..." } else { "" })
            }
        }
    }
}

/// serde's words without its place, which counts lines within the entry and not within the file.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("recursion limit") {
        return "lists or objects stand in one another more than 127 deep, which no instruction file needs".to_owned();
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).map_or_else(|| text.clone(), str::to_owned)
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some((Key(key), value)) = map.next_entry()? {
            fields.push((key, value));
        }
        match twice(&fields) {
            Some(key) => Err(A::Error::custom(format!("the key {key:?} stands twice in one object; keep one of them"))),
            None => Ok(Json::Object(fields)),
        }
    }
}

/// A key that stands twice.
fn twice<'f>(fields: &'f Object<'_>) -> Option<&'f str> {
    let same =
        |(i, (key, _)): (usize, &'f (Cow<'_, str>, _))| fields[..i].iter().any(|(k, _)| k == key).then_some(&**key);
    if fields.len() <= 16 {
        return fields.iter().enumerate().find_map(same);
    }
    let mut keys: Vec<&str> = fields.iter().map(|(key, _)| &**key).collect();
    keys.sort_unstable();
    keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Text(text) => Ok(Self(text)),
            other => Err(D::Error::custom(format!("a key is {other} and not a text"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::document;
    use proptest::prelude::*;

    #[test]
    fn a_key_that_stands_twice_is_named_in_small_and_large_objects() {
        let fault = Json::parse(b"{\"a\": 1,\n \"b\": {\"c\": 1, \"c\": 1}}").unwrap_err();
        assert_eq!(fault.problem, "the key \"c\" stands twice in one object; keep one of them");
        assert_eq!(fault.lines, 1);
        let many: Vec<String> = (0..40).map(|i| format!("\"k{}\": 0", i % 39)).collect();
        let fault = Json::parse(format!("{{{}}}", many.join(",")).as_bytes()).unwrap_err().problem;
        assert!(fault.starts_with("the key \"k0\" stands twice"), "{fault}");
    }

    #[test]
    fn values_say_what_they_are() {
        let show = |json: &str| Json::parse(json.as_bytes()).unwrap().to_string();
        let all =
            ["null", "true", "1.5", "\"\"", "\"a\\n\"", "[]", "[1, 2]", "{}", r#"{"a": 1, "b": 2, "c": 3, "d": 4}"#];
        insta::assert_snapshot!(all.map(show).join("\n"), @r#"
        null
        true
        the number 1.5
        an empty text
        the text "a\n"
        an empty list
        a list of 2
        an empty object
        an object with "a", "b", "c", ...
        "#);
    }

    fn plain(json: &Json<'_>) -> serde_json::Value {
        match json {
            Json::Null => serde_json::Value::Null,
            Json::Bool(b) => (*b).into(),
            Json::Number(n) => n.clone().into(),
            Json::Text(t) => t.to_string().into(),
            Json::List(items) => items.iter().map(plain).collect(),
            Json::Object(fields) => fields.iter().map(|(k, v)| (k.to_string(), plain(v))).collect(),
        }
    }

    proptest! {
        #[test]
        fn equals_serde_json(value in document(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(plain(&Json::parse(text.as_bytes()).unwrap()), expected);
            prop_assert_eq!(json_faults::find(text.as_bytes()), None);
        }
    }
}
