//! Who may speak to a server without keys: programs of this machine, not pages of other sites in its browsers.
//!
//! A page can send a POST without a body to any address, and by a name that is later made to mean 127.0.0.1 (DNS
//! rebinding) it can read answers. Browsers say whose page speaks in `Origin`, and which name was used in `Host`.

use axum::http::{HeaderMap, HeaderValue, Uri, header};

use super::Error;

/// Refuses a request whose `Host` is not this machine, or whose `Origin` is neither that nor one of `origins`.
pub(super) fn check(headers: &HeaderMap, origins: &[HeaderValue]) -> Result<(), Error> {
    for (header, name) in [(header::HOST, "Host"), (header::ORIGIN, "Origin")] {
        for value in headers.get_all(&header) {
            if header == header::ORIGIN && origins.contains(value) {
                continue;
            }
            let text = String::from_utf8_lossy(value.as_bytes());
            let uri = text.parse::<Uri>().ok();
            if !uri.as_ref().and_then(Uri::host).is_some_and(is_this_machine) {
                return Err(Error::Foreign { header: name, value: text.into_owned() });
            }
        }
    }
    Ok(())
}

fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(header: header::HeaderName, value: &str) -> bool {
        check(&HeaderMap::from_iter([(header, value.parse().unwrap())]), &[]).is_ok()
    }

    #[test]
    fn an_origin_that_was_allowed_may_speak_and_no_name_becomes_this_machines_by_it() {
        let origins = ["https://chat.example".parse().unwrap()];
        let one = |header, value: &str| HeaderMap::from_iter([(header, value.parse().unwrap())]);
        assert!(check(&one(header::ORIGIN, "https://chat.example"), &origins).is_ok());
        assert!(check(&one(header::ORIGIN, "https://chat.example.org"), &origins).is_err());
        assert!(check(&one(header::HOST, "chat.example"), &origins).is_err());
    }

    #[test]
    fn this_machine_is_known_by_each_of_its_names() {
        for host in ["localhost", "LOCALHOST:8002", "127.0.0.1:8002", "[::1]:8002"] {
            assert!(allowed(header::HOST, host), "{host}");
        }
        assert!(allowed(header::ORIGIN, "http://localhost:3000"));
    }

    #[test]
    fn other_sites_and_other_names_are_refused() {
        for host in ["example.org", "localhost.example.org", "10.0.0.1:8002", ""] {
            assert!(!allowed(header::HOST, host), "{host}");
        }
        for origin in ["https://example.org", "null", "http://127.0.0.1.example.org"] {
            assert!(!allowed(header::ORIGIN, origin), "{origin}");
        }
    }
}
