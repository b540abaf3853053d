//! `keys`: who may call the HTTP API.

use comfy_table::{Table, presets};
use secrecy::ExposeSecret;
use serde_json::json;

use super::Exit;
use super::args::{Common, Keys};
use super::commands::{is_json, resolved};
use crate::agent::{Error, store_documents};
use crate::api::{self, Key, Scope};
use crate::base::{Clock, Coded, SystemClock};

/// `keys create|list|revoke`.
pub(super) async fn keys(common: &Common, command: &Keys) -> Result<Exit, Error> {
    let failed = |error: api::Error| Error::Run(error.problem());
    let documents = store_documents(&resolved(common)?.store_url)?;
    let keys = api::Keys::open(documents).await.map_err(failed)?;
    let now = SystemClock.now();
    match command {
        Keys::Create { name, scope } => {
            let random = rustls::crypto::ring::default_provider().secure_random;
            let scopes = scope.iter().copied().collect();
            let made = keys.create(name, scopes, now, random).await.map_err(failed)?;
            // The one place where a secret is shown.
            let secret = made.secret.expose_secret();
            if is_json(common) {
                println!("{}", json!({"key": made.key, "secret": secret}));
            } else {
                println!("{secret}");
                eprintln!("key {} for {}: it is not shown again", made.key.id, made.key.name);
            }
        }
        Keys::List if is_json(common) => println!("{:#}", json!(keys.list())),
        Keys::List => println!("{}", table(&keys.list())),
        Keys::Revoke { id } => {
            let key = keys.revoke(id, now).await.map_err(failed)?;
            if is_json(common) {
                println!("{}", json!(key));
            } else {
                println!("key {} for {} is revoked", key.id, key.name);
            }
        }
    }
    Ok(Exit::Done)
}

fn table(keys: &[Key]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for key in keys {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| Scope::as_str(*scope)).collect();
        let state = if key.revoked_ms.is_some() { "revoked" } else { "" };
        table.add_row([key.id.as_str(), &key.name, &scopes.join(","), state]);
    }
    table
}
