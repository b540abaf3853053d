//! Whom the server calls because a caller said so. Only addresses that anybody may reach, the one that was checked is the
//! one that is called, and no redirect is followed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;

/// Longest call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What names mean.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// Every address of `host`.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The machine's resolver.
struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// The guard before every call to an address that a caller gave.
#[derive(Clone)]
pub struct Outbound {
    /// Hosts that may be called although their addresses are private.
    allow: Arc<[String]>,
    resolver: Arc<dyn Resolve>,
}

/// Why an address is not called.
#[derive(Debug)]
pub(in crate::api) enum Refused {
    /// The same call may succeed later.
    Passing(String),
    /// It never will.
    Final(String),
}

impl Outbound {
    /// A guard that also lets calls to the hosts of `allow` through, whatever their addresses.
    pub fn new(allow: Vec<String>) -> Self {
        Self { allow: allow.into(), resolver: Arc::new(SystemResolver) }
    }

    /// The same guard with another idea of what names mean.
    #[must_use]
    pub fn resolving_with(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// Refuses what is no URL of the web, or is a private address as it is written.
    pub(in crate::api) fn check(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` is not called", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("give no credentials in it".to_owned());
        }
        let host = url.host_str().ok_or_else(|| "it has no host".to_owned())?;
        if let Ok(address) = bare(host).parse::<IpAddr>()
            && !is_public(address)
            && !self.allows(host)
        {
            return Err(format!("{address} is not an address that anybody may reach"));
        }
        Ok(url)
    }

    /// A client that calls the host of `url` at the address that was checked now, and nobody else.
    pub(in crate::api) async fn client(
        &self,
        url: &str,
    ) -> Result<(Url, reqwest::Client), Refused> {
        let url = self.check(url).map_err(Refused::Final)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let address = self.resolved(&url, &host).await?;
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            // Whatever the name means a moment later.
            .resolve(&host, address)
            .no_proxy()
            .build()
            .map_err(|error| Refused::Final(error.to_string()))?;
        Ok((url, client))
    }

    async fn resolved(&self, url: &Url, host: &str) -> Result<SocketAddr, Refused> {
        let port = url.port_or_known_default().unwrap_or(443);
        let found = self.resolver.resolve(bare(host), port).await;
        let found = found.map_err(|error| Refused::Passing(error.to_string()))?;
        // A name with a public and a private address is a trick.
        let reachable = self.allows(host) || found.iter().all(|address| is_public(address.ip()));
        let first = found.first().copied().filter(|_| reachable);
        first.ok_or_else(|| Refused::Final(format!("`{host}` is no host that anybody may reach")))
    }

    fn allows(&self, host: &str) -> bool {
        self.allow.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

/// What may be logged of a URL: paths and queries of webhooks are often secrets.
pub(in crate::api) fn origin_of(url: &str) -> String {
    let parsed = Url::parse(url).map(|url| url.origin().ascii_serialization());
    parsed.unwrap_or_else(|_| "an unreadable URL".to_owned())
}

/// A host without the brackets of IPv6.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether an address belongs to the public internet.
fn is_public(address: IpAddr) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_not_called_however_they_are_written() {
        let guard = Outbound::new(Vec::new());
        for url in [
            "http://127.0.0.1/x",
            "http://127.1/x",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]:8002/",
            "http://[::ffff:10.0.0.1]/",
            "http://10.1.2.3",
            "http://192.168.0.1",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1",
            "http://0.0.0.0",
            "http://[fd00::1]",
            "http://[fe80::1]",
            "http://[2002:7f00:1::]",
            "http://[64:ff9b::7f00:1]",
            "file:///etc/passwd",
            "gopher://example.org",
            "http://user:secret@example.org",
            "not a url",
        ] {
            assert!(guard.check(url).is_err(), "{url}");
        }
        for url in ["https://example.org/hook", "http://1.1.1.1/", "http://[2606:4700::1111]/"] {
            assert!(guard.check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_logged_of_an_address_is_no_secret() {
        assert_eq!(origin_of("https://example.org/hook?token=secret"), "https://example.org");
    }

    /// One address at the first question, another at the second.
    struct Rebinding(std::sync::Mutex<Vec<&'static str>>);

    #[async_trait]
    impl Resolve for Rebinding {
        async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            let mut answers = self.0.lock().unwrap();
            let all = answers.remove(0).split(',');
            Ok(all.map(|address| SocketAddr::new(address.parse().unwrap(), port)).collect())
        }
    }

    #[tokio::test]
    async fn a_name_is_asked_once_per_call_and_only_public_answers_count() {
        let answers = vec!["1.1.1.1", "127.0.0.1", "1.1.1.1,10.0.0.1", "::1"];
        let resolver = Arc::new(Rebinding(answers.into()));
        let guard = Outbound::new(Vec::new()).resolving_with(resolver.clone());
        let url = "http://hook.example/";
        let parsed = guard.check(url).unwrap();
        let address = guard.resolved(&parsed, "hook.example").await.unwrap();
        assert_eq!(address.to_string(), "1.1.1.1:80");
        for _ in 0..3 {
            assert!(matches!(guard.client(url).await, Err(Refused::Final(_))));
        }
        assert!(resolver.0.lock().unwrap().is_empty(), "each call asked once");
    }
}
