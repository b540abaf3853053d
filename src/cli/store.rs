//! `store`: the file that keeps everything, checked, counted, compacted, copied.

use comfy_table::{Table, presets};
use serde_json::json;

use super::Exit;
use super::args::{Common, Store};
use super::commands::{is_json, resolved};
use crate::agent::{
    Agent, Error, StoreStats, back_store_up, check_store, store_stats, vacuum_store,
};

/// `store check|stats|vacuum|backup`.
pub(super) async fn store(common: &Common, command: &Store) -> Result<Exit, Error> {
    let settings = resolved(common)?;
    let url = settings.store_url.clone();
    match command {
        Store::Check => return check(common, &url).await,
        Store::Stats => {
            let stats = store_stats(&url).await?;
            if is_json(common) {
                println!("{:#}", json!(stats));
            } else {
                print_stats(&stats);
            }
        }
        Store::Vacuum => {
            // The retention of the config file first: what it forgets is what there is to give back.
            let forgotten = match settings.config.retention.is_empty() {
                true => None,
                false => Some(Agent::shared(settings, "store").await?.retain().await?),
            };
            let compacted = vacuum_store(&url).await?;
            let threads = forgotten.as_ref().map_or(0, |forgotten| forgotten.threads.len());
            let checkpoints = forgotten.as_ref().map_or(0, |forgotten| forgotten.checkpoints);
            if is_json(common) {
                let gone = json!({"threads": threads, "checkpoints": checkpoints});
                println!("{:#}", json!({"forgotten": gone, "compacted": compacted}));
            } else {
                if forgotten.is_some() {
                    println!("forgotten: {threads} threads, {checkpoints} checkpoints of others");
                }
                let (before, after) = (compacted.before_bytes, compacted.after_bytes);
                println!("{} before, {} after", kib(before), kib(after));
            }
        }
        Store::Backup { to } => {
            let bytes = back_store_up(&url, to.clone()).await?;
            if is_json(common) {
                println!("{:#}", json!({"file": to, "bytes": bytes}));
            } else {
                println!("{}: {}, checked", to.display(), kib(bytes));
            }
        }
    }
    Ok(Exit::Done)
}

async fn check(common: &Common, url: &str) -> Result<Exit, Error> {
    let report = check_store(url).await?;
    let sound = report.damages.is_empty();
    if is_json(common) {
        println!("{:#}", json!(report));
    } else if sound {
        println!("{} rows read, all as they were written", report.rows);
    } else {
        for damage in &report.damages {
            println!("{}: {}", damage.what, damage.reason);
        }
        println!("{} rows read, {} damages", report.rows, report.damages.len());
    }
    Ok(if sound { Exit::Done } else { Exit::Failed })
}

fn print_stats(stats: &StoreStats) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("schema", stats.schema.to_string());
    row("file", kib(stats.file_bytes));
    row("log not merged yet", kib(stats.log_bytes));
    row("free, for vacuum", kib(stats.free_bytes));
    for (status, count) in &stats.threads {
        row(&format!("threads {status}"), count.to_string());
    }
    row("checkpoints", stats.checkpoints.to_string());
    row("journal entries", stats.events.to_string());
    row("letters that wait", stats.letters.to_string());
    row("effects", stats.effects.to_string());
    row("effects in doubt", stats.effects_in_doubt.to_string());
    for (collection, count) in &stats.documents {
        row(&format!("documents {collection}"), count.to_string());
    }
    row("saved checkpoints", stats.saved_checkpoints.to_string());
    for size in &stats.tables {
        row(&format!("table {}", size.table), kib(size.bytes));
    }
    println!("{table}");
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}
