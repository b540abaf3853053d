//! `/docs`: an explorer of `/openapi.json` in one page, which needs nothing from elsewhere.

use std::sync::LazyLock;

use axum::http::{HeaderName, header};
use axum::response::Html;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("explorer.html");

/// What the page may do: run its own script, wear its own style, ask this server. Nothing else, from nowhere else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (script, style) = (fingerprint(within("script")), fingerprint(within("style")));
    format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
});

/// The explorer: every operation with its schemas, to be read and tried.
#[utoipa::path(
    get, path = "/docs", tag = "meta",
    responses((status = 200, content_type = "text/html", body = String)),
)]
pub(super) async fn show() -> ([(HeaderName, &'static str); 3], Html<&'static str>) {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(PAGE))
}

/// The text of the one element of this name.
fn within(element: &str) -> &'static str {
    let inner = PAGE.split_once(&format!("<{element}>")).map_or("", |(_, rest)| rest);
    inner.split_once(&format!("</{element}>")).map_or("", |(text, _)| text)
}

/// The text as a policy names it.
fn fingerprint(text: &str) -> String {
    format!("sha256-{}", BASE64.encode(Sha256::digest(text.as_bytes())))
}
