//! Bodies whose refusal is a problem like any other.

use axum::Json;
use axum::extract::rejection::{JsonRejection, StringRejection};
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::Error;

/// The JSON body of a request.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let read: Result<Json<T>, JsonRejection> = Json::from_request(request, state).await;
        read.map(|Json(value)| Self(value)).map_err(|rejection| Error::Body {
            status: rejection.status(),
            detail: rejection.body_text(),
        })
    }
}

/// The text of a request, whatever its content type.
pub(super) struct Text(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let read: Result<String, StringRejection> = String::from_request(request, state).await;
        read.map(Self).map_err(|rejection| Error::Body {
            status: rejection.status(),
            detail: rejection.body_text(),
        })
    }
}
