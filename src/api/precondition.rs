//! `If-Match` and `If-None-Match`: which version a write replaces. One that names none could undo what somebody else just wrote.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use utoipa::IntoParams;

use super::Error;
use crate::agent::Expected;

/// The headers, for the document.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only their description is used")]
pub(super) struct VersionHeaders {
    /// The version that is replaced, as `ETag` of GET; `*`: any.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
    /// `*`: there is none of that name yet.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// What a write expects to be there.
pub(super) struct Precondition(pub(super) Expected);

impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        expected(&parts.headers).map(Self)
    }
}

/// A version as `ETag`.
pub(super) fn etag(version: &str) -> [(HeaderName, HeaderValue); 1] {
    let value = HeaderValue::from_str(&format!("\"{version}\""));
    [(header::ETAG, value.unwrap_or(HeaderValue::from_static("\"\"")))]
}

fn expected(headers: &HeaderMap) -> Result<Expected, Error> {
    let matching = values(headers, &header::IF_MATCH)?;
    let none = values(headers, &header::IF_NONE_MATCH)?;
    match (matching, none) {
        (None, None) => Err(Error::PreconditionMissing),
        (Some(tags), None) if tags == ["*"] => Ok(Expected::Any),
        (Some(tags), None) => {
            tags.iter().map(|tag| version(tag)).collect::<Result<_, _>>().map(Expected::OneOf)
        }
        (None, Some(tags)) if tags == ["*"] => Ok(Expected::Absent),
        (None, Some(_)) => Err(invalid("`If-None-Match` is `*` here: write what is not there yet")),
        (Some(_), Some(_)) => Err(invalid("`If-Match` and `If-None-Match` contradict each other")),
    }
}

/// What a list header lists; `None`: it is not there.
fn values(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Vec<String>>, Error> {
    let mut listed = None;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| invalid(QUOTED))?;
        let tags = text.split(',').map(|tag| tag.trim().to_owned());
        listed.get_or_insert_with(Vec::new).extend(tags);
    }
    Ok(listed)
}

const QUOTED: &str = "`If-Match` has versions in quotes, as `ETag` gives them";

fn version(tag: &str) -> Result<String, Error> {
    // A weak tag names what only looks the same.
    let inner = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    inner.map(str::to_owned).ok_or_else(|| invalid(QUOTED))
}

fn invalid(detail: &str) -> Error {
    Error::InvalidRequest(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(HeaderName, &str)]) -> Result<Expected, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        expected(&headers).map_err(|error| crate::base::Coded::code(&error).to_owned())
    }

    #[test]
    fn a_write_says_which_version_it_replaces_or_that_there_is_none() {
        use header::{IF_MATCH, IF_NONE_MATCH};
        let one_of = |list: &[&str]| {
            Ok(Expected::OneOf(list.iter().map(|version| (*version).to_owned()).collect()))
        };
        assert_eq!(read(&[(IF_MATCH, "\"a\"")]), one_of(&["a"]));
        assert_eq!(
            read(&[(IF_MATCH, "\"a\", \"b\""), (IF_MATCH, "\"c\"")]),
            one_of(&["a", "b", "c"])
        );
        assert_eq!(read(&[(IF_MATCH, "*")]), Ok(Expected::Any));
        assert_eq!(read(&[(IF_NONE_MATCH, "*")]), Ok(Expected::Absent));
        assert_eq!(read(&[]), Err("api.precondition_missing".to_owned()));
        for bad in ["a", "W/\"a\"", "\"", ""] {
            assert_eq!(read(&[(IF_MATCH, bad)]), Err("api.invalid_request".to_owned()), "{bad}");
        }
        for pairs in
            [&[(IF_NONE_MATCH, "\"a\"")][..], &[(IF_MATCH, "\"a\""), (IF_NONE_MATCH, "*")][..]]
        {
            assert_eq!(read(pairs), Err("api.invalid_request".to_owned()));
        }
    }
}
