//! The elements of a JSON array, of which only a limited number is kept.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Reads an array whose elements beyond `count_max` are counted and not kept.
pub(super) struct Elements {
    pub(super) count_max: usize,
}

impl<'a> DeserializeSeed<'a> for Elements {
    type Value = (Vec<&'a RawValue>, usize);

    fn deserialize<D: Deserializer<'a>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Elements {
    type Value = (Vec<&'a RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let (mut elements, mut count) = (Vec::new(), 0);
        while let Some(element) = array.next_element()? {
            count += 1;
            if count <= self.count_max {
                elements.push(element);
            }
        }
        Ok((elements, count))
    }
}
