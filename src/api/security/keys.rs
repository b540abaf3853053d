//! Bearer keys: made, listed, revoked, recognised. The store has their SHA-256 only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::SecureRandom;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::{Caller, Scope};
use crate::api::Error;
use crate::base::{Documents, Millis};

/// Collection of the keys.
const KEYS: &str = "api_keys";
/// More keys than anybody has.
const KEYS_MAX: usize = 10_000;
/// What every key begins with, so that scanners of sources know one when they see it.
const PREFIX: &str = "pa";
/// Random bytes of an id and of a secret.
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Names it in the audit log.
    pub id: String,
    /// Who or what it is for.
    pub name: String,
    /// What it allows.
    #[schema(value_type = Vec<Scope>)]
    pub scopes: BTreeSet<Scope>,
    /// When it was made [ms since the epoch].
    #[schema(value_type = u64)]
    pub created_ms: Millis,
    /// When it was revoked [ms since the epoch]; `null`: it counts.
    #[schema(value_type = Option<u64>)]
    pub revoked_ms: Option<Millis>,
}

/// A key that was just made.
#[derive(Debug)]
pub struct NewKey {
    /// The key.
    pub key: Key,
    /// What its holder sends: shown now and never again.
    pub secret: SecretString,
}

/// A key as it is kept.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    key: Key,
    /// Of the whole secret, hex.
    sha256: String,
}

/// The keys of a store.
pub struct Keys {
    documents: Arc<dyn Documents>,
    /// What the store has: only this process writes there.
    held: RwLock<BTreeMap<String, Kept>>,
}

impl Keys {
    /// Reads the keys of a store.
    ///
    /// Errors: a store that fails.
    pub async fn open(documents: Arc<dyn Documents>) -> Result<Self, Error> {
        let kept = documents.list(KEYS, KEYS_MAX).await.map_err(Error::Store)?;
        let read = kept.into_iter().map(|document| {
            serde_json::from_value::<Kept>(document.value)
                .map(|kept| (kept.key.id.clone(), kept))
                .map_err(|error| Error::KeyUnreadable {
                    id: document.key,
                    detail: error.to_string(),
                })
        });
        let held = read.collect::<Result<_, Error>>()?;
        Ok(Self { documents, held: RwLock::new(held) })
    }

    /// Makes a key.
    ///
    /// Errors: no scope or no name; a store that fails; a machine without randomness.
    pub async fn create(
        &self,
        name: &str,
        scopes: BTreeSet<Scope>,
        now: Millis,
        random: &dyn SecureRandom,
    ) -> Result<NewKey, Error> {
        let name = name.trim();
        if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            let detail = "the name of a key has 1 to 100 characters on one line";
            return Err(Error::InvalidRequest(detail.to_owned()));
        }
        if scopes.is_empty() {
            return Err(Error::InvalidRequest("a key has at least one scope".to_owned()));
        }
        let (id, secret) = fresh(random)?;
        let key = Key {
            id: id.clone(),
            name: name.to_owned(),
            scopes,
            created_ms: now,
            revoked_ms: None,
        };
        let kept = Kept { key: key.clone(), sha256: hex(&Sha256::digest(&secret)) };
        let put = self.documents.put(KEYS, &id, Some(0), json!(kept)).await;
        put.map_err(Error::Store)?;
        self.held.write().unwrap_or_else(PoisonError::into_inner).insert(id, kept);
        Ok(NewKey { key, secret: secret.into() })
    }

    /// Every key, the revoked ones too, oldest first.
    pub fn list(&self) -> Vec<Key> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<Key> = held.values().map(|kept| kept.key.clone()).collect();
        keys.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        keys
    }

    /// Whether any key counts.
    pub fn any_counts(&self) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.values().any(|kept| kept.key.revoked_ms.is_none())
    }

    /// Revokes a key: it counts no more from now on. Revoking again changes nothing.
    ///
    /// Errors: [`Error::NoKey`]; a store that fails.
    pub async fn revoke(&self, id: &str, now: Millis) -> Result<Key, Error> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let mut kept = held.ok_or_else(|| Error::NoKey(id.to_owned()))?;
        kept.key.revoked_ms = kept.key.revoked_ms.or(Some(now));
        let key = kept.key.clone();
        // Here first: whatever becomes of the store, the key is not taken any more.
        let value = json!(kept);
        self.held.write().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), kept);
        self.documents.put(KEYS, id, None, value).await.map_err(Error::Store)?;
        Ok(key)
    }

    /// Who holds this secret. The comparison takes as long for a wrong secret as for the right one.
    pub(super) fn holder(&self, secret: &str) -> Option<Caller> {
        let id = secret.split('_').nth(1).unwrap_or_default();
        let given = hex(&Sha256::digest(secret));
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let kept = held.get(id);
        let unknown = "0".repeat(given.len());
        let expected = kept.map_or(unknown.as_str(), |kept| kept.sha256.as_str());
        let same = bool::from(given.as_bytes().ct_eq(expected.as_bytes()));
        let key = kept.filter(|kept| same && kept.key.revoked_ms.is_none())?.key.clone();
        Some(Caller::with_key(key.id, key.name, key.scopes))
    }
}

/// An id and the whole secret: `pa_<id>_<random>`.
fn fresh(random: &dyn SecureRandom) -> Result<(String, String), Error> {
    let (mut id, mut secret) = ([0_u8; ID_BYTES], [0_u8; SECRET_BYTES]);
    let failed = |_| Error::NoRandomness;
    random.fill(&mut id).map_err(failed)?;
    random.fill(&mut secret).map_err(failed)?;
    let id = hex(&id);
    let secret = format!("{PREFIX}_{id}_{}", hex(&secret));
    Ok((id, secret))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
