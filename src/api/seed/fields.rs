//! Bodies and queries read field by field, so that every field that does not fit is named at once.

use std::collections::HashMap;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::refusal::{Invalid, Refusal};
use crate::api::Error;
use crate::api::body::Body;
use crate::base::Coded;

/// Fields of a body or of a query.
pub(super) struct Fields {
    place: String,
    values: Map<String, Value>,
    invalid: Vec<Invalid>,
}

/// The JSON body of a request, an object.
pub(super) struct BodyFields(pub(super) Fields);

/// The query of a request.
pub(super) struct QueryFields(pub(super) Fields);

impl Fields {
    /// The fields of an object that stands at `place`.
    pub(super) fn of(place: impl Into<String>, values: Map<String, Value>) -> Self {
        Self { place: place.into(), values, invalid: Vec::new() }
    }

    /// Notes that a field does not fit.
    pub(super) fn refuse(&mut self, name: &str, message: impl Into<String>, kind: &'static str) {
        let field = format!("{}.{name}", self.place);
        self.invalid.push(Invalid { field, message: message.into(), r#type: kind });
    }

    /// A text that must be there; empty when it is refused.
    pub(super) fn text(&mut self, name: &str) -> String {
        match self.values.remove(name) {
            Some(Value::String(text)) => return text,
            None => self.refuse(name, "Field required", "missing"),
            Some(_) => self.refuse(name, "Input should be a valid string", "string_type"),
        }
        String::new()
    }

    /// A text that may be left out or null.
    pub(super) fn text_or_none(&mut self, name: &str) -> Option<String> {
        if matches!(self.values.get(name), None | Some(Value::Null)) {
            return None;
        }
        Some(self.text(name))
    }

    /// A whole number, or `otherwise` when it is left out.
    pub(super) fn int(&mut self, name: &str, otherwise: i64) -> i64 {
        let Some(value) = self.values.remove(name) else { return otherwise };
        let whole =
            |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
        let read = match &value {
            Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        read.unwrap_or_else(|| {
            self.refuse(name, "Input should be a valid integer", "int_parsing");
            otherwise
        })
    }

    /// A number; `None`: it must be there and is not, or it is refused.
    pub(super) fn float(&mut self, name: &str, otherwise: Option<f64>) -> Option<f64> {
        let Some(value) = self.values.remove(name) else {
            if otherwise.is_none() {
                self.refuse(name, "Field required", "missing");
            }
            return otherwise;
        };
        let read = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            _ => None,
        };
        if read.is_none() {
            self.refuse(name, "Input should be a valid number", "float_parsing");
        }
        read.or(otherwise)
    }

    /// A switch, or `otherwise` when it is left out.
    pub(super) fn switch(&mut self, name: &str, otherwise: bool) -> bool {
        match self.values.remove(name) {
            None => otherwise,
            Some(Value::Bool(value)) => value,
            Some(_) => {
                self.refuse(name, "Input should be a valid boolean", "bool_parsing");
                otherwise
            }
        }
    }

    /// An object that may be left out or null.
    pub(super) fn object(&mut self, name: &str) -> Map<String, Value> {
        match self.values.remove(name) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(object)) => object,
            Some(_) => {
                self.refuse(name, "Input should be a valid dictionary", "dict_type");
                Map::new()
            }
        }
    }

    /// A list of objects that may be left out or null, each read by `read`.
    pub(super) fn objects<T>(&mut self, name: &str, read: impl Fn(&mut Fields) -> T) -> Vec<T> {
        let list = match self.values.remove(name) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.refuse(name, "Input should be a valid list", "list_type");
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for (index, one) in list.into_iter().enumerate() {
            let Value::Object(values) = one else {
                self.refuse(
                    &format!("{name}.{index}"),
                    "Input should be a valid dictionary",
                    "dict_type",
                );
                continue;
            };
            let mut fields = Self::of(format!("{}.{name}.{index}", self.place), values);
            all.push(read(&mut fields));
            self.invalid.append(&mut fields.invalid);
        }
        all
    }

    /// Refuses the request when a field did not fit.
    pub(super) fn done(self) -> Result<(), Refusal> {
        if self.invalid.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self.invalid)) }
    }
}

fn whole(message: String, place: &str, kind: &'static str) -> Refusal {
    Refusal::Invalid(vec![Invalid { field: place.to_owned(), message, r#type: kind }])
}

impl<S: Send + Sync> FromRequest<S> for BodyFields {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        match Body::<Value>::from_request(request, state).await {
            Ok(Body(Value::Object(values))) => Ok(Self(Fields::of("body", values))),
            Ok(_) => {
                Err(whole("Input should be a valid dictionary".to_owned(), "body", "dict_type"))
            }
            Err(Error::Body { status, detail }) if status.as_u16() == 413 => {
                Err(Refusal::Http(status, detail))
            }
            Err(error) => Err(whole(error.problem().message, "body", "json_invalid")),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for QueryFields {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let read = Query::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let Query(texts) =
            read.map_err(|error| whole(error.body_text(), "query", "query_invalid"))?;
        let values = texts.into_iter().map(|(name, text)| (name, Value::String(text))).collect();
        Ok(Self(Fields::of("query", values)))
    }
}
