//! Ports and MACs as people write them.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use portlane_common::span::Span;

/// Writes a range as `80` or `8000-8009`.
#[derive(Clone, Copy, Debug)]
pub struct Ports(pub Span);

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Span { first, last } if first == last => write!(f, "{first}"),
            Span { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Writes an address of the host as it comes before a port: `192.0.2.1:`, `[::1]:`.
#[derive(Clone, Copy, Debug)]
pub struct Before(pub IpAddr);

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}:"),
            IpAddr::V6(address) => write!(f, "[{address}]:"),
        }
    }
}

/// Writes who may use a published port as it comes behind that: `,from=10.0.0.0/8,from=192.0.2.7`; nothing for everybody.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a>(pub &'a [IpNet]);

impl fmt::Display for Sources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|source| {
            if source.prefix_len() == source.max_prefix_len() {
                write!(f, ",from={}", source.addr())
            } else {
                write!(f, ",from={source}")
            }
        })
    }
}

/// Writes a MAC as `02:42:ac:11:00:02`.
#[derive(Clone, Copy, Debug)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A MAC in the stored state: as people write it.
pub(super) mod mac_text {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer, de::Error};

    pub fn serialize<S: Serializer>(mac: &[u8; 6], to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(&super::Mac(*mac)) } else { mac.serialize(to) }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 6], D::Error> {
        if !from.is_human_readable() {
            return <[u8; 6]>::deserialize(from);
        }
        let text = String::deserialize(from)?;
        crate::model::spec::octets_of_mac(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no MAC address")))
    }
}

/// A MAC that a request may leave open.
pub(super) mod mac_asked {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(mac: &Option<[u8; 6]>, to: S) -> Result<S::Ok, S::Error> {
        match mac {
            Some(mac) => super::mac_text::serialize(mac, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[u8; 6]>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| crate::model::spec::mac(&text).map_err(D::Error::custom)).transpose()
    }
}

/// Several values in a request, each as the command line takes it.
pub(super) mod each_text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(ToString::to_string))
    }

    pub fn deserialize<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

/// Lines for `/etc/hosts` in a request: `name:address`, or `name:host-gateway`.
pub(super) mod hosts_text {
    use std::net::IpAddr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::model::spec::{HOST_GATEWAY, extra_host};

    pub fn serialize<S: Serializer>(lines: &[(String, Option<IpAddr>)], to: S) -> Result<S::Ok, S::Error> {
        let text = |address: &Option<IpAddr>| address.map_or(HOST_GATEWAY.to_owned(), |address| address.to_string());
        to.collect_seq(lines.iter().map(|(host, address)| format!("{host}:{}", text(address))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, Option<IpAddr>)>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| extra_host(text).map_err(D::Error::custom)).collect()
    }
}

/// A list as one string of bytes, where nobody is to read it: of a crowd's ports there are thousands, and in `MessagePack` to read
/// each field by itself takes three times as long. What is in it has no names and no kinds, so any change of that is a new schema.
pub(super) mod dense {
    use std::{fmt, marker::PhantomData};

    use serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer},
        ser::Error as _,
    };

    struct Bytes<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Bytes<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a packed list")
        }

        fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Vec<T>, E> {
            postcard::from_bytes(bytes).map_err(E::custom)
        }

        /// Of schema 4.
        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }

    pub fn serialize<T: Serialize, S: Serializer>(list: &Vec<T>, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            list.serialize(to)
        } else {
            to.serialize_bytes(&postcard::to_allocvec(list).map_err(S::Error::custom)?)
        }
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
        if from.is_human_readable() { Vec::deserialize(from) } else { from.deserialize_bytes(Bytes(PhantomData)) }
    }
}

/// A range in the stored state: as people write it, or where they do not read, both ends.
pub(super) mod span_text {
    use std::fmt;

    use portlane_common::span::Span;
    use serde::{
        Deserialize as _, Deserializer, Serialize as _, Serializer,
        de::{Error, Visitor},
    };

    /// Takes the text where it is: of a crowd's ports there are thousands.
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Span;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a port or a range of ports, as text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
            crate::model::spec::span_of(text).map_err(|problem| E::custom(format!("`{text}`: {problem}")))
        }
    }

    pub fn serialize<S: Serializer>(span: &Span, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(&super::Ports(*span))
        } else {
            (span.first, span.last).serialize(to)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
        if from.is_human_readable() {
            return from.deserialize_str(Text);
        }
        let (first, last) = <(u16, u16)>::deserialize(from)?;
        if first > last {
            Err(D::Error::custom(format!("`{first}-{last}` is no range")))
        } else {
            Ok(Span { first, last })
        }
    }
}
