//! `keys`, and what `serve` does with them.

use super::support::{run, run_json};

#[test]
fn a_key_is_shown_once_listed_without_its_secret_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let made = run(folder.path(), &["keys", "create", "ci", "--scope", "read,operate"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let secret = made.out.trim();
    let parts: Vec<&str> = secret.split('_').collect();
    assert_eq!((parts.len(), parts[0], parts[1].len(), parts[2].len()), (3, "pa", 12, 64));
    assert!(!made.err.contains(parts[2]), "{}", made.err);
    let (code, listed) = run_json(folder.path(), &["keys", "list"]);
    assert_eq!((code, listed.as_array().map(Vec::len)), (0, Some(1)), "{listed}");
    assert_eq!(listed[0]["scopes"], serde_json::json!(["read", "operate"]));
    assert!(!listed.to_string().contains(parts[2]));
    assert_eq!(run(folder.path(), &["keys", "revoke", parts[1]]).code, 0);
    let table = run(folder.path(), &["keys", "list"]).out;
    assert!(table.contains("revoked") && table.contains("read,operate"), "{table}");
    let (code, refused) = run_json(folder.path(), &["keys", "revoke", "nobody"]);
    assert_eq!((code, &refused["error"]["code"]), (1, &"api.unknown_key".into()), "{refused}");
    let wrong = run(folder.path(), &["keys", "create", "ci", "--scope", "root"]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(wrong.err.contains("read, operate, approve or admin"), "{}", wrong.err);
}

#[test]
fn an_address_that_others_can_reach_is_refused_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["serve", "--host", "0.0.0.0", "--port", "0", "--model", "expert"];
    let (code, refused) = run_json(folder.path(), &args);
    assert_eq!((code, &refused["error"]["code"]), (1, &"api.not_loopback".into()), "{refused}");
    let hint = refused["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("perf-agent keys create"), "{hint}");
    let half = run(folder.path(), &["serve", "--tls-cert", "x.pem"]);
    assert_eq!(half.code, 2, "{}", half.err);
}
