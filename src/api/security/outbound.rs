//! Whom the server calls because a caller said so: webhooks go to addresses that anybody may reach, metrics are read on this
//! machine and where the operator says so. The address that was checked is the one that is called, no redirect is followed,
//! and link-local and metadata addresses are never called.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;

use crate::agent::Reach;

/// Longest call of a webhook.
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
    /// Hosts that webhooks may go to although their addresses are private.
    allow: Arc<[String]>,
    /// Hosts beside this machine and the declared deployments whose metrics may be read.
    readable: Arc<[String]>,
    resolver: Arc<dyn Resolve>,
}

/// Where metrics may be read, besides the hosts that the operator lists.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) enum Trust {
    /// It is the endpoint of a declared deployment.
    Declared,
    /// On this machine: whoever asks could read it there themselves, or may say where servers are.
    Here,
    /// Nowhere: whoever asks may be anywhere, and must not look around here.
    Listed,
}

/// Why an address is not called.
#[derive(Debug)]
pub(in crate::api) enum Refused {
    /// The same call may succeed later.
    Passing(String),
    /// It never will.
    Final(String),
}

impl Refused {
    /// What is said of it.
    pub(in crate::api) fn text(self) -> String {
        match self {
            Self::Passing(text) | Self::Final(text) => text,
        }
    }
}

impl Outbound {
    /// A guard that also lets webhooks to the hosts of `allow` through, though their addresses are private.
    pub fn new(allow: Vec<String>) -> Self {
        let readable = Arc::default();
        Self { allow: allow.into(), readable, resolver: Arc::new(SystemResolver) }
    }

    /// The same guard, and metrics may be read on these hosts too.
    #[must_use]
    pub fn reading(self, hosts: Vec<String>) -> Self {
        Self { readable: hosts.into(), ..self }
    }

    /// The same guard with another idea of what names mean.
    #[must_use]
    pub fn resolving_with(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// Refuses as a webhook what is no URL of the web, or is a private address as it is written.
    pub(in crate::api) fn check(&self, url: &str) -> Result<Url, String> {
        let url = web_url(url)?;
        let host = url.host_str().unwrap_or_default();
        if let Ok(address) = bare(host).parse::<IpAddr>()
            && !self.may_be_told(host, address)
        {
            return Err(format!("{address} is not an address that anybody may reach"));
        }
        Ok(url)
    }

    /// A client that calls the host of the webhook `url` at the addresses that were checked now, and nobody else.
    pub(in crate::api) async fn client(
        &self,
        url: &str,
    ) -> Result<(Url, reqwest::Client), Refused> {
        let url = self.check(url).map_err(Refused::Final)?;
        let host = url.host_str().unwrap_or_default();
        let client = self.reaching(&url, TIMEOUT, |address| self.may_be_told(host, address));
        let client = client.await?;
        Ok((url, client))
    }

    /// A client that reads metrics at `url`, and calls nobody else.
    pub(in crate::api) async fn reader(
        &self,
        url: &Url,
        trust: Trust,
        timeout: Duration,
    ) -> Result<reqwest::Client, Refused> {
        let listed = names(&self.readable, url.host_str().unwrap_or_default());
        let may = |address: IpAddr| match trust {
            Trust::Declared => true,
            Trust::Here => listed || address.is_loopback(),
            Trust::Listed => listed,
        };
        self.reaching(url, timeout, may).await
    }

    async fn reaching(
        &self,
        url: &Url,
        timeout: Duration,
        may: impl Fn(IpAddr) -> bool,
    ) -> Result<reqwest::Client, Refused> {
        let found = tokio::time::timeout(timeout, self.resolved(url, may)).await;
        let late = |_| Refused::Passing("its name is not resolved in time".to_owned());
        let addresses = found.map_err(late)??;
        // An error says that one was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            // Whatever the name means a moment later.
            .resolve_to_addrs(url.host_str().unwrap_or_default(), &addresses)
            .no_proxy()
            .build()
            .map_err(|error| Refused::Final(error.to_string()))
    }

    async fn resolved(
        &self,
        url: &Url,
        may: impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<SocketAddr>, Refused> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(443);
        let found = self.resolver.resolve(bare(host), port).await;
        let found = found.map_err(|error| Refused::Passing(format!("`{host}`: {error}")))?;
        // A name with an allowed and a forbidden address is a trick.
        let reachable = found.iter().all(|address| {
            let address = address.ip().to_canonical();
            !is_never_called(address) && may(address)
        });
        match found.is_empty() || !reachable {
            true => Err(Refused::Final(format!("`{host}` is no host that may be called"))),
            false => Ok(found),
        }
    }

    /// Whether a webhook may go to this address of this host.
    fn may_be_told(&self, host: &str, address: IpAddr) -> bool {
        !is_never_called(address) && (is_public(address) || names(&self.allow, host))
    }
}

#[async_trait]
impl Reach for Outbound {
    async fn reach(&self, url: &str, timeout: Duration) -> Result<reqwest::Client, String> {
        self.reader(&web_url(url)?, Trust::Here, timeout).await.map_err(Refused::text)
    }
}

/// A URL of the web, without credentials in it.
///
/// Errors: what is wrong with it, in words.
pub(in crate::api) fn web_url(url: &str) -> Result<Url, String> {
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

fn names(hosts: &[String], host: &str) -> bool {
    hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host))
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

/// Where clouds keep credentials, besides the link-local range.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure's wire server: a public address that leads to the host of the machine.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
];

/// Whether no server that is worth a look can live at an address: link-local and metadata, any and many.
fn is_never_called(address: IpAddr) -> bool {
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
            "http://168.63.129.16/machine?comp=goalstate",
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
    fn who_is_allowed_by_name_reaches_private_addresses_and_never_those_of_credentials() {
        let allowed = [
            "10.1.2.3",
            "127.0.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
        ];
        let guard = Outbound::new(allowed.map(str::to_owned).to_vec());
        for url in ["http://10.1.2.3", "http://127.0.0.1:8002/"] {
            assert!(guard.check(url).is_ok(), "{url}");
        }
        let never = ["169.254.169.254", "100.100.100.200", "168.63.129.16", "0.0.0.0"];
        for url in never.map(|address| format!("http://{address}/")) {
            let url = url.as_str();
            assert!(guard.check(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn metrics_are_read_here_and_where_somebody_said_so() {
        let limit = Duration::from_secs(1);
        let answers = vec![
            "127.0.0.1",
            "127.0.0.1",
            "10.0.0.1",
            "10.0.0.1",
            "127.0.0.1,10.0.0.1",
            "10.0.0.1",
        ];
        let resolver = Arc::new(Rebinding(answers.into()));
        let guard = Outbound::new(vec!["gpu.example".to_owned()]).resolving_with(resolver.clone());
        let url = web_url("http://gpu.example:8000/metrics").unwrap();
        assert!(guard.reader(&url, Trust::Here, limit).await.is_ok(), "this machine");
        assert!(guard.reader(&url, Trust::Listed, limit).await.is_err(), "not for everybody");
        assert!(
            guard.reader(&url, Trust::Here, limit).await.is_err(),
            "a webhook's permission is none"
        );
        assert!(guard.reader(&url, Trust::Declared, limit).await.is_ok(), "a deployment");
        assert!(guard.reader(&url, Trust::Here, limit).await.is_err(), "one here, one elsewhere");
        let guard = guard.reading(vec!["GPU.example".to_owned()]);
        assert!(guard.reader(&url, Trust::Here, limit).await.is_ok(), "listed");
        for never in ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"] {
            let resolver = Arc::new(Rebinding(vec![never].into()));
            let guard = guard.clone().resolving_with(resolver);
            assert!(guard.reader(&url, Trust::Declared, limit).await.is_err(), "{never}");
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
        let addresses = guard.resolved(&guard.check(url).unwrap(), is_public).await.unwrap();
        assert_eq!(addresses, ["1.1.1.1:80".parse().unwrap()]);
        for _ in 0..3 {
            assert!(matches!(guard.client(url).await, Err(Refused::Final(_))));
        }
        assert!(resolver.0.lock().unwrap().is_empty(), "each call asked once");
    }
}
