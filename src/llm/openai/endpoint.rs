//! Where the model lives and how we show ourselves there; the key stays in here.

use async_openai::config::Config;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};

/// Longest text of a provider that we repeat [characters].
const DETAIL_CHARS_MAX: usize = 400;

/// A base URL and a key. Built by hand: the crate's own config reads the environment and panics on a bad key.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    base_url: String,
    api_key: SecretString,
}

impl Endpoint {
    /// `https://api.groq.com/openai/v1`, with or without a slash at its end.
    pub(super) fn new(base_url: &str, api_key: SecretString) -> Self {
        let base_url = base_url.trim().trim_end_matches('/').to_owned();
        Self { base_url, api_key: api_key.expose_secret().trim().into() }
    }

    /// For errors and reports: no user, no password, no query.
    pub(super) fn shown(&self) -> String {
        let Ok(mut url) = reqwest::Url::parse(&self.base_url) else {
            return "the configured LLM_BASE_URL".to_owned();
        };
        // Both fail only for URLs without a host, which hold no credentials.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        url.to_string().trim_end_matches('/').to_owned()
    }

    /// True for this machine: no proxy of the environment may stand between.
    pub(super) fn is_loopback(&self) -> bool {
        match self.host().as_deref() {
            Some("localhost") => true,
            Some(host) => host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback()),
            None => false,
        }
    }

    /// True for Groq's own hosts, which bill.
    pub(super) fn is_groq(&self) -> bool {
        self.host().is_some_and(|host| host == "groq.com" || host.ends_with(".groq.com"))
    }

    /// A provider's words made fit to repeat: one line, bounded, and without the key if it echoed it.
    pub(super) fn quote(&self, text: &str) -> String {
        let key = self.api_key.expose_secret();
        let text = if key.is_empty() { text.to_owned() } else { text.replace(key, "[key]") };
        let clean: String =
            text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        let mut words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = words.char_indices().nth(DETAIL_CHARS_MAX) {
            words.truncate(end);
            words.push('…');
        }
        words
    }

    fn host(&self) -> Option<String> {
        reqwest::Url::parse(&self.base_url).ok()?.host_str().map(str::to_owned)
    }
}

impl Config for Endpoint {
    /// No key, no header: local servers need none. A key that no header can carry is not sent, and then refused.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let key = self.api_key.expose_secret();
        if !key.is_empty()
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {key}"))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        headers
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        &self.base_url
    }

    fn api_key(&self) -> &SecretString {
        &self.api_key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str) -> Endpoint {
        Endpoint::new(base_url, "gsk_secret".into())
    }

    #[test]
    fn what_is_shown_holds_no_credentials() {
        let endpoint = endpoint("https://me:pass@gw.example/openai/v1/?token=1");
        assert_eq!(endpoint.shown(), "https://gw.example/openai/v1");
        assert!(!format!("{endpoint:?}").contains("gsk_secret"));
    }

    #[test]
    fn an_echoed_key_is_cut_from_what_is_quoted() {
        let quoted = endpoint("http://h").quote("bad key\n gsk_secret\u{7}!");
        assert_eq!(quoted, "bad key [key] !");
    }

    #[test]
    fn long_words_are_bounded() {
        let quoted = endpoint("http://h").quote(&"é".repeat(1000));
        assert_eq!(quoted.chars().count(), DETAIL_CHARS_MAX + 1);
    }

    #[test]
    fn groq_and_this_machine_are_recognised() {
        assert!(endpoint("https://api.groq.com/openai/v1").is_groq());
        assert!(!endpoint("https://evilgroq.com/v1").is_groq());
        assert!(endpoint("http://127.0.0.1:8000/v1").is_loopback());
        assert!(endpoint("http://[::1]:8000/v1").is_loopback());
        assert!(!endpoint("https://api.groq.com").is_loopback());
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_not_a_panic() {
        let endpoint = Endpoint::new("http://h", "a\nb".into());
        assert!(endpoint.headers().is_empty());
    }
}
