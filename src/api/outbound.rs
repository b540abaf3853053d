//! Calls to addresses that callers name: the one that was checked is the one that is called, and no redirect is followed.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::Url;

/// Why an address is not called, or was not reached.
#[derive(Debug)]
pub(super) enum Failure {
    /// The same call may succeed later.
    Passing(String),
    /// It never will.
    Final(String),
}

impl Failure {
    /// What is said of it.
    pub(super) fn text(self) -> String {
        match self {
            Self::Passing(text) | Self::Final(text) => text,
        }
    }
}

/// A URL of the web, without credentials in it.
///
/// Errors: what is wrong with it, in words.
pub(super) fn parsed(url: &str) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is not called", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("give no credentials in it".to_owned());
    }
    url.host_str().ok_or_else(|| "it has no host".to_owned())?;
    Ok(url)
}

/// The address that a URL names outright; `None`: a name.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    bare(url.host_str()?).parse().ok()
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether a comma-separated list in the environment names this host.
pub(super) fn is_listed(variable: &str, host: &str) -> bool {
    std::env::var(variable).is_ok_and(|hosts| {
        hosts.split(',').any(|allowed| allowed.trim().eq_ignore_ascii_case(host))
    })
}

/// A client that reaches `url` and nothing else: only if every address of its host passes `may`, and only those.
pub(super) async fn client(
    url: &Url,
    timeout: Duration,
    may: impl Fn(IpAddr) -> bool,
) -> Result<reqwest::Client, Failure> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    let found = tokio::time::timeout(timeout, tokio::net::lookup_host((bare(host), port))).await;
    let found = found.map_err(|_| Failure::Passing(format!("`{host}` is not resolved in time")))?;
    let all: Vec<SocketAddr> =
        found.map_err(|error| Failure::Passing(format!("`{host}`: {error}")))?.collect();
    // A name with an allowed and a forbidden address is a trick.
    if all.is_empty() || !all.iter().all(|address| may(address.ip().to_canonical())) {
        return Err(Failure::Final(format!("`{host}` is no host that may be called")));
    }
    // An error says that one was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        // The addresses that were checked, whatever the name means a moment later.
        .resolve_to_addrs(host, &all)
        .no_proxy()
        .build()
        .map_err(|error| Failure::Final(error.to_string()))
}

/// Whether an address belongs to the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let benchmarks = a == 198 && (b == 18 || b == 19);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || v4.is_multicast()
                || v4.is_broadcast()
                || shared
                || benchmarks
                || a == 0
                || a >= 240
                || (a, b) == (192, 0))
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_public(IpAddr::V4(v4));
            }
            // Global unicast, without what translates to addresses of the other kind.
            let [first, second, ..] = v6.segments();
            first & 0xe000 == 0x2000
                && first != 0x2002
                && (first, second) != (0x2001, 0x0db8)
                && (first, second) != (0x2001, 0)
        }
    }
}

/// Where clouds keep credentials, besides the link-local range.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
];

/// Whether no server that is worth a look can live at an address: link-local and metadata, any and many.
pub(super) fn is_never_called(address: IpAddr) -> bool {
    METADATA.contains(&address)
        || address.is_unspecified()
        || address.is_multicast()
        || match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
            // Also 6to4 and NAT64, which lead to addresses of the other kind.
            IpAddr::V6(v6) => {
                let [first, second, ..] = v6.segments();
                v6.is_unicast_link_local()
                    || first == 0x2002
                    || (first, second) == (0x0064, 0xff9b)
                    || v6.to_ipv4_mapped().is_some_and(|v4| is_never_called(IpAddr::V4(v4)))
            }
        }
}
