//! What crosses the wire: arrays of exactly their fields, checked as they are read.

use serde::Deserialize;
use serde::de::{Error, IgnoredAny, SeqAccess};

/// Why a value from elsewhere is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed: {0}")]
pub struct Malformed(pub &'static str);

/// Errors: `why`, unless `good`.
pub fn require(good: bool, why: &'static str) -> Result<(), Malformed> {
    if good { Ok(()) } else { Err(Malformed(why)) }
}

/// The next element of an array. Errors: it is none of its kind, or the array ends before it.
pub fn element<'de, A, T>(seq: &mut A) -> Result<T, A::Error>
where
    A: SeqAccess<'de>,
    T: Deserialize<'de>,
{
    seq.next_element()?.ok_or_else(|| A::Error::custom("too few elements"))
}

/// Errors: the array goes on. Some decoders would leave surplus elements in the stream, for the next value to trip
/// over.
pub fn end<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<(), A::Error> {
    match seq.next_element::<IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("too many elements")),
    }
}

/// Serializes a struct as an array of its fields; deserializing takes just that many, and calls `check`.
#[doc(hidden)]
#[macro_export]
macro_rules! array_shaped {
    ($type:ident: $($field:ident),+) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeTuple;
                let mut array = serializer.serialize_tuple([$(stringify!($field)),+].len())?;
                $(array.serialize_element(&self.$field)?;)+
                array.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(stringify!($type))
                    }

                    fn visit_seq<A: serde::de::SeqAccess<'de>>(
                        self,
                        mut seq: A,
                    ) -> Result<$type, A::Error> {
                        $(let $field = $crate::wire::element(&mut seq)?;)+
                        $crate::wire::end(&mut seq)?;
                        let value = $type { $($field),+ };
                        value.check().map_err(serde::de::Error::custom)?;
                        Ok(value)
                    }
                }

                deserializer.deserialize_tuple([$(stringify!($field)),+].len(), Fields)
            }
        }
    };
}
pub use array_shaped;

/// Serializes a type as the byte string that `to_bytes` makes and `from_bytes` reads.
macro_rules! bytes_shaped {
    ($type:ident) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.to_bytes())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Bytes;

                impl serde::de::Visitor<'_> for Bytes {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(stringify!($type))
                    }

                    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<$type, E> {
                        $type::from_bytes(bytes).ok_or_else(|| E::custom(concat!("no ", stringify!($type))))
                    }
                }

                deserializer.deserialize_byte_buf(Bytes)
            }
        }
    };
}
pub(crate) use bytes_shaped;
