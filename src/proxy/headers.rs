//! Headers that belong to one hop, and those that this hop adds.

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::domain::Arm;

/// Names a request over all hops; made here when the client did not.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Tells the client which arm answered.
pub const SERVED_ARM: HeaderName = HeaderName::from_static("x-served-arm");

const OVERRIDE: HeaderName = HeaderName::from_static("x-canary");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes what was meant for this hop alone.
///
/// Source: RFC 9110, section 7.6.1.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Adds the client's address to the chain of those who asked.
pub fn add_forwarded_for(headers: &mut HeaderMap, client: std::net::IpAddr) {
    let chain = headers.get(&FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let chain = chain.map_or_else(|| client.to_string(), |before| format!("{before}, {client}"));
    if let Ok(value) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, value);
    }
}

/// The arm that the client insists on: `x-canary: always` or `never`.
pub fn forced_arm(headers: &HeaderMap) -> Option<Arm> {
    match headers.get(&OVERRIDE)?.as_bytes() {
        b"always" => Some(Arm::Canary),
        b"never" => Some(Arm::Stable),
        _ => None,
    }
}

/// The arm as a header value.
pub fn arm_value(arm: Arm) -> HeaderValue {
    HeaderValue::from_static(match arm {
        Arm::Stable => "stable",
        Arm::Canary => "canary",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_and_those_that_connection_names_go() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("authorization", "Bearer k"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["authorization"]);
    }

    #[test]
    fn the_chain_of_clients_grows() {
        let mut headers = HeaderMap::new();
        add_forwarded_for(&mut headers, [10, 0, 0, 1].into());
        add_forwarded_for(&mut headers, [10, 0, 0, 2].into());
        assert_eq!(headers[FORWARDED_FOR], "10.0.0.1, 10.0.0.2");
    }
}
