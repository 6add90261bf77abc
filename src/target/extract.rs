//! One value out of a JSON answer, without building a tree and without allocating.
//!
//! serde_json walks the document (so that broken JSON is noticed) and everything off the path is skipped.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value that is no container.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// A number.
    Number(f64),
    /// A string, borrowed unless it holds escapes.
    Text(Cow<'a, str>),
    /// A boolean.
    Bool(bool),
    /// `null`.
    Null,
    /// An array or object.
    Other,
}

/// The scalar at a JSON pointer (RFC 6901); none when it is not there or the document is not JSON.
pub fn scalar_at<'a>(body: &'a [u8], pointer: &str) -> Option<Scalar<'a>> {
    match walk(body, pointer) {
        Ok(Some(Value::Scalar(s))) => Some(s),
        Ok(Some(Value::Array)) => Some(Scalar::Other),
        _ => None,
    }
}

enum Value<'a> {
    Scalar(Scalar<'a>),
    Array,
}

fn walk<'a>(body: &'a [u8], pointer: &str) -> Result<Option<Value<'a>>, serde_json::Error> {
    let mut de = serde_json::Deserializer::from_slice(body);
    let found = Step { rest: pointer }.deserialize(&mut de)?;
    de.end()?;
    Ok(found)
}

/// One step along the pointer.
#[derive(Clone, Copy)]
struct Step<'p> {
    rest: &'p str,
}

impl<'p> Step<'p> {
    /// The next token, and the step after it; none at the end of the pointer.
    fn next(self) -> Option<(&'p str, Step<'p>)> {
        let rest = self.rest.strip_prefix('/')?;
        let end = rest.find('/').unwrap_or(rest.len());
        Some((&rest[..end], Step { rest: &rest[end..] }))
    }
}

/// Does a pointer token (with `~0` and `~1`) name this key?
pub(super) fn names(token: &str, key: &str) -> bool {
    if token.contains('~') { token.replace("~1", "/").replace("~0", "~") == key } else { token == key }
}

/// Reads a key and says whether the token names it; keeps nothing.
struct Key<'p>(Option<&'p str>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(self.0.is_some_and(|token| names(token, key)))
    }
}

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<Value<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'p> Step<'p> {
    fn scalar<'de, E: Error>(self, s: Scalar<'de>) -> Result<Option<Value<'de>>, E> {
        Ok(self.next().is_none().then_some(Value::Scalar(s)))
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<Value<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Self::Value, E> {
        self.scalar(Scalar::Bool(v))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Self::Value, E> {
        self.scalar(Scalar::Number(v as f64))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Self::Value, E> {
        self.scalar(Scalar::Number(v as f64))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Self::Value, E> {
        self.scalar(Scalar::Number(v))
    }

    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Self::Value, E> {
        self.scalar(Scalar::Text(Cow::Borrowed(v)))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
        self.scalar(Scalar::Text(Cow::Owned(v.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        self.scalar(Scalar::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let at_end = self.next().is_none();
        // Of a name that stands twice, the last counts, as in most readers.
        while let Some(named) = map.next_key_seed(Key(self.next().map(|(token, _)| token)))? {
            match self.next() {
                Some((_, next)) if named => found = map.next_value_seed(next)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(if at_end { Some(Value::Scalar(Scalar::Other)) } else { found })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let Some((token, next)) = self.next() else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Some(Value::Array));
        };
        let (wanted, mut found) = (token.parse().unwrap_or(usize::MAX), None);
        for index in 0.. {
            if index == wanted {
                let Some(value) = seq.next_element_seed(next)? else { break };
                found = value;
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pointers_find_what_they_name() {
        let doc = br#"{"a":{"b":[10,{"c":"x\ty"},null]},"n":-1.5,"t":true,"k/1":"slash","":"empty"}"#;
        assert_eq!(scalar_at(doc, "/a/b/0"), Some(Scalar::Number(10.0)));
        assert_eq!(scalar_at(doc, "/a/b/1/c"), Some(Scalar::Text("x\ty".into())));
        assert_eq!(scalar_at(doc, "/a/b/2"), Some(Scalar::Null));
        assert_eq!(scalar_at(doc, "/a/b/3"), None);
        assert_eq!(scalar_at(doc, "/n"), Some(Scalar::Number(-1.5)));
        assert_eq!(scalar_at(doc, "/t"), Some(Scalar::Bool(true)));
        assert_eq!(scalar_at(doc, "/k~11"), Some(Scalar::Text("slash".into())));
        assert_eq!(scalar_at(doc, "/a"), Some(Scalar::Other));
        assert_eq!(scalar_at(doc, "/n/deeper"), None);
        assert_eq!(scalar_at(br#"{"a":1} x"#, "/a"), None, "trailing bytes are not JSON");
        assert_eq!(scalar_at(br#"{"p":[[1,2]]}"#, "/p"), Some(Scalar::Other));
    }

    #[test]
    fn deep_nesting_is_refused_not_a_crash() {
        let deep = "[".repeat(100_000);
        assert_eq!(scalar_at(deep.as_bytes(), "/x"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..200), pointer in "(/[a-z0-9~]{0,3}){0,4}") {
            let _ = scalar_at(&body, &pointer);
        }

        #[test]
        fn agrees_with_a_real_tree(n in -1000i64..1000, text in "[a-z\"\\\\]{0,8}") {
            let doc = serde_json::json!({"x": [n, {"y": text.clone()}]}).to_string();
            prop_assert_eq!(scalar_at(doc.as_bytes(), "/x/0"), Some(Scalar::Number(n as f64)));
            prop_assert_eq!(scalar_at(doc.as_bytes(), "/x/1/y"), Some(Scalar::Text(text.into())));
        }
    }
}
