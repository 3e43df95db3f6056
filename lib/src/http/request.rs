//! One request of an API, with JSON both ways.

use super::Network;
use super::get::{agent, failed};
use crate::base::{Error, Kind, Result};
use serde_json::Value;
use ureq::http::{Method, header};

/// No answer is longer.
const MAX_BYTES: u64 = 16 << 20;

/// What a server answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status: 200 when all is well.
    pub status: u16,
    /// The body; null when there is none, a text when it is no JSON.
    pub body: Value,
}

/// Makes a request: `verb` is `GET`, `POST`, `PUT` or `DELETE`, `token` goes into `Authorization`.
pub fn request(verb: &str, url: &str, token: Option<&str>, body: Option<&Value>, network: &Network) -> Result<Answer> {
    let agent = agent(url, network)?;
    let method: Method = verb.parse().map_err(|_| Error::failed(format!("{verb} is no request")).on(url))?;
    let mut builder = ureq::http::Request::builder().method(method).uri(url).header(header::ACCEPT, "application/json");
    if let Some(token) = token {
        builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let wrong = |error: ureq::http::Error| Error::usage(format!("this request cannot be made: {error}")).on(url);
    let outcome = match body {
        Some(body) => {
            let builder = builder.header(header::CONTENT_TYPE, "application/json");
            agent.run(builder.body(body.to_string()).map_err(wrong)?)
        }
        None => agent.run(builder.body(()).map_err(wrong)?),
    };
    let response = outcome.map_err(|error| failed(&error).into_error().or_on(url))?;
    let status = response.status().as_u16();
    let bytes = response.into_body().into_with_config().limit(MAX_BYTES).read_to_vec();
    let bytes = bytes.map_err(|error| {
        Error::new(Kind::Unavailable, format!("the answer was cut off: {error}")).on(url).hint("try again")
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let body = match text.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    Ok(Answer { status, body })
}
