//! Reading a struct from a JSON object only: derived code also takes an array of the fields' values in their order, which
//! nobody means.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use sandkeep_core::code::Problem;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

/// Reads `T` from an object.
///
/// # Errors
/// It is none, or `T` refuses it.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    from.deserialize_map(Object(PhantomData))
}

/// Reads a word of `core`'s, so that what is refused has its own code, the value, and what would be right. Other spellings
/// than that of answers are for people at a command line.
///
/// # Errors
/// It is no text, or `T` refuses it.
pub fn word<'de, D: Deserializer<'de>, T: FromStr<Err = Problem> + fmt::Display>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    text.parse().map(Some).map_err(D::Error::custom)
}
