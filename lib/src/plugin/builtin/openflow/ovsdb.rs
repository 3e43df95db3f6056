//! The configuration database of Open vSwitch: JSON-RPC (RFC 7047) over its Unix socket.
//!
//! Messages follow each other without frames. The server may ask whether we are there (`echo`) at any time. That a request
//! has no `error` says nothing: what failed stands in the results of its operations, or after them when the commit failed.

use crate::base::{Error, Kind, Result};
use serde_json::{Value, json};
use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const DATABASE: &str = "Open_vSwitch";
const NOT_THERE: &str =
    "is it running? systemctl status openvswitch-switch; another socket is said in [settings] of plugin.toml";

type Messages = serde_json::StreamDeserializer<'static, serde_json::de::IoRead<BufReader<UnixStream>>, Value>;

/// A connection.
pub struct Client {
    stream: UnixStream,
    messages: Messages,
    place: String,
    timeout: Duration,
    next_id: u64,
}

impl Client {
    /// Connects.
    pub fn open(socket: &Path, timeout: Duration) -> Result<Self> {
        let place = socket.display().to_string();
        let stream = UnixStream::connect(socket).map_err(|error| {
            let (kind, hint) = match error.kind() {
                std::io::ErrorKind::PermissionDenied => (Kind::Denied, "run it as root"),
                _ => (Kind::Unavailable, NOT_THERE),
            };
            Error::new(kind, format!("the database of Open vSwitch cannot be reached: {error}"))
                .on(place.clone())
                .hint(hint)
        })?;
        let limit = Some(timeout.max(Duration::from_secs(1)));
        stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit)).map_err(|error| {
            Error::new(Kind::Failed, format!("the connection takes no time limit: {error}")).on(place.clone())
        })?;
        let reader = stream.try_clone().map_err(|error| {
            Error::failed(format!("the connection cannot be read and written: {error}")).on(place.clone())
        })?;
        let messages = serde_json::Deserializer::from_reader(BufReader::new(reader)).into_iter();
        Ok(Self { stream, messages, place, timeout, next_id: 1 })
    }

    /// Makes one transaction of `operations`; the result of each. Nothing was changed when this fails, unless the
    /// connection was lost.
    pub fn transact(&mut self, operations: Vec<Value>) -> Result<Vec<Value>> {
        let count = operations.len();
        let mut params = vec![json!(DATABASE)];
        params.extend(operations);
        let result = self.request("transact", &json!(params))?;
        results(result, count).map_err(|error| error.on(self.place.clone()))
    }

    fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({"method": method, "params": params, "id": id}))?;
        while let Some(message) = self.messages.next() {
            let message = message.map_err(|error| self.lost(&error.to_string()))?;
            if message["method"] == "echo" {
                self.send(&json!({"result": message["params"], "error": null, "id": message["id"]}))?;
                continue;
            }
            if message["id"] != id {
                continue;
            }
            if !message["error"].is_null() {
                return Err(Error::failed(format!("the database refuses the request: {}", message["error"]))
                    .on(self.place.clone()));
            }
            return Ok(message["result"].clone());
        }
        Err(self.lost("it closed the connection"))
    }

    fn send(&mut self, message: &Value) -> Result<()> {
        let sent = self.stream.write_all(message.to_string().as_bytes());
        sent.map_err(|error| self.lost(&error.to_string()))
    }

    fn lost(&self, why: &str) -> Error {
        let what = format!("the database of Open vSwitch does not answer (within {} s): {why}", self.timeout.as_secs());
        Error::new(Kind::Unavailable, what).on(self.place.clone()).hint("is ovsdb-server running?")
    }
}

/// The results of `count` operations, or what failed of them.
fn results(result: Value, count: usize) -> Result<Vec<Value>> {
    let Value::Array(mut results) = result else {
        return Err(Error::failed("the database gives no results of a transaction"));
    };
    if let Some(failed) = results.iter().find(|one| one.get("error").is_some_and(|error| !error.is_null())) {
        let text = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
        // Both are what a `wait` answers.
        if text("error") == "timed out" {
            return Err(Error::new(Kind::Stale, "somebody else changed Open vSwitch since this was planned")
                .hint("nothing was changed; plan again"));
        }
        return Err(Error::failed(format!("the database refuses: {}: {}", text("error"), text("details"))));
    }
    if results.len() < count {
        return Err(Error::failed("the database answered fewer operations than it was asked for"));
    }
    results.truncate(count);
    Ok(results)
}

/// The elements of a set, which the database writes bare when it is one alone.
pub fn set(value: &Value) -> Vec<&Value> {
    match value.as_array().map(Vec::as_slice) {
        Some([tag, Value::Array(elements)]) if tag == "set" => elements.iter().collect(),
        _ if value.is_null() => Vec::new(),
        _ => vec![value],
    }
}

/// The pairs of a map.
pub fn pairs(value: &Value) -> Vec<(String, Value)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value.as_array().map(Vec::as_slice) {
        Some([tag, Value::Array(pairs)]) if tag == "map" => {
            pairs.iter().map(|pair| (text(&pair[0]), pair[1].clone())).collect()
        }
        _ => Vec::new(),
    }
}

/// The identifier in a reference.
pub fn uuid(value: &Value) -> Option<String> {
    match value.as_array().map(Vec::as_slice) {
        Some([tag, Value::String(id)]) if tag == "uuid" => Some(id.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_stands_in_the_results() {
        let good = json!([{"count": 1}, {}]);
        assert_eq!(results(good, 2).unwrap().len(), 2);
        let at_an_operation = json!([{"error": "unknown column", "details": "No column nam in table Bridge."}, null]);
        assert!(results(at_an_operation, 2).unwrap_err().message.contains("No column nam"));
        let at_commit = json!([{"count": 1}, {"error": "constraint violation", "details": "identical values (br1)"}]);
        assert!(results(at_commit, 1).unwrap_err().message.contains("identical values (br1)"));
        let waited = json!([{"error": "timed out", "details": "\"where\" clause test failed"}, null]);
        assert_eq!(results(waited, 2).unwrap_err().kind, Kind::Stale);
    }

    #[test]
    fn a_set_of_one_is_bare() {
        assert_eq!(set(&json!(["uuid", "a"])).len(), 1);
        assert_eq!(set(&json!(["set", [["uuid", "a"], ["uuid", "b"]]])).len(), 2);
        assert_eq!(set(&json!(["set", []])).len(), 0);
        assert_eq!(set(&json!(7)), [&json!(7)]);
        assert_eq!(pairs(&json!(["map", [["op-dbus", "1"]]])), [("op-dbus".to_owned(), json!("1"))]);
        assert_eq!(uuid(&json!(["uuid", "a"])), Some("a".to_owned()));
    }
}
