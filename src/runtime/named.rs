//! A small map by name, for what every checkpoint carries.
//!
//! A checkpoint is copied with every step, and kept. A sorted list with shared names takes a fifth of what a tree of owned
//! names takes for a few entries, and copying it is one allocation.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Values by name, in the order of the names.
#[derive(Clone, PartialEq)]
pub struct Named<T>(Vec<(Arc<str>, T)>);

impl<T> Named<T> {
    /// Without any.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| (**held).cmp(name))
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.place(name).ok().map(|place| &self.0[place].1)
    }

    /// The value of that name, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.place(name).ok().map(|place| &mut self.0[place].1)
    }

    /// Sets the value of that name; the one before.
    pub fn insert(&mut self, name: impl AsRef<str> + Into<Arc<str>>, value: T) -> Option<T> {
        match self.place(name.as_ref()) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (name.into(), value));
                None
            }
        }
    }

    /// Keeps those that `wanted` says.
    pub fn retain(&mut self, mut wanted: impl FnMut(&str, &mut T) -> bool) {
        self.0.retain_mut(|(name, value)| wanted(name, value));
    }

    /// The names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Of two values of one name the last one stays.
impl<K: Into<Arc<str>>, T> FromIterator<(K, T)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(pairs: I) -> Self {
        let mut all: Vec<(Arc<str>, T)> =
            pairs.into_iter().map(|(name, value)| (name.into(), value)).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.dedup_by(|next, before| {
            let same = next.0 == before.0;
            if same {
                std::mem::swap(next, before);
            }
            same
        });
        all.shrink_to_fit();
        Self(all)
    }
}

impl<T> IntoIterator for Named<T> {
    type Item = (Arc<str>, T);
    type IntoIter = std::vec::IntoIter<(Arc<str>, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, T>()? {
                    pairs.push(pair);
                }
                Ok(pairs.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_the_last_value_of_one_stays() {
        let mut named: Named<u64> = [("b", 1), ("a", 2), ("b", 3)].into_iter().collect();
        assert_eq!(named.insert("c", 4), None);
        assert_eq!(named.insert("a", 5), Some(2));
        assert_eq!(serde_json::to_string(&named).expect("writes"), r#"{"a":5,"b":3,"c":4}"#);
        named.retain(|name, _| name != "b");
        let read: Named<u64> = serde_json::from_str(r#"{"c":4,"a":5}"#).expect("reads");
        assert_eq!((read, named.get("b")), (named.clone(), None));
        assert_eq!((named.get("c"), named.keys().collect::<Vec<_>>()), (Some(&4), vec!["a", "c"]));
    }
}
