//! From changes to netclient's commands and the server's requests. What others stand on comes first and goes last.

use super::{CLIENTS, HOST, HOSTS, KEYS, NAME, NETWORKS, SERVER_NETWORKS, TOKEN};
use crate::base::{Call, Error, Result};
use crate::state::{Action, Change, Undo, UndoClass};
use serde_json::{Map, Value, json};

pub const COMMAND: &str = "command";
pub const HTTPS: &str = "https";

/// In which order keys come.
const ORDER: [&str; 6] = [SERVER_NETWORKS, KEYS, NETWORKS, HOST, HOSTS, CLIENTS];

/// The actions for `changes`; `is_back` when they lead to what there was.
pub fn plan(netclient: &str, changes: &[Change], is_back: bool) -> Result<Vec<Action>> {
    let (mut first, mut last, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for key in ORDER {
        let mut going = Vec::new();
        for change in changes.iter().filter(|change| change.key() == key) {
            let planned = match key {
                NETWORKS => membership(netclient, change, is_back),
                HOST => push(netclient, change),
                _ => object(key, change, is_back),
            };
            match planned {
                Ok(action) if change.takes_item() => going.push(action),
                Ok(action) => first.push(action),
                Err(error) => errors.push(error.or_on(format!("plugins.{NAME}.{}", change.resource()))),
            }
        }
        last.splice(0..0, going);
    }
    first.extend(last);
    Error::all(errors).map_or(Ok(first), Err)
}

fn action(change: &Change, title: String, call: Call, undo: Undo) -> Action {
    Action::new(NAME, vec![change.clone()], title, call, undo)
}

fn back(class: UndoClass, call: Call) -> Undo {
    Undo { class, call: Some(call) }
}

fn never() -> Undo {
    Undo { class: UndoClass::Irreversible, call: None }
}

/// This host in a network.
fn membership(netclient: &str, change: &Change, is_back: bool) -> Result<Action> {
    let name = change.item().unwrap_or_default();
    let call = |verb: &str, args: Vec<Value>| Call::on_host(COMMAND, netclient, verb, args);
    let switch = |is_on: bool| call(if is_on { "connect" } else { "disconnect" }, vec![json!(name)]);
    match change {
        Change::Create { to, .. } => {
            let token = to.get(TOKEN).filter(|token| !token.is_null()).ok_or_else(|| {
                let why = if is_back {
                    "a network that was left takes a new token"
                } else {
                    "a host joins a network by a token"
                };
                Error::bad_input(why)
                    .hint(format!(r#"say it by the name of a secret: "{TOKEN}": {{"$secret": "mesh-token"}}"#))
            })?;
            let undo = back(UndoClass::Compensating, call("leave", vec![json!(name)]));
            Ok(action(change, format!("Join the network {name}"), call("join", vec![json!("-t"), token.clone()]), undo))
        }
        Change::Update { from, to, .. } => {
            let is_on =
                to["connected"].as_bool().ok_or_else(|| Error::refused("only `connected` of it can be changed"))?;
            let was_on = from["connected"] == true;
            let verb = if is_on { "Connect to" } else { "Disconnect from" };
            Ok(action(
                change,
                format!("{verb} the network {name}"),
                switch(is_on),
                back(UndoClass::Exact, switch(was_on)),
            ))
        }
        // To come again it needs a token, and gets another address.
        Change::Delete { .. } => {
            Ok(action(change, format!("Leave the network {name}"), call("leave", vec![json!(name)]), never()))
        }
        _ => Err(Error::failed("this is no change of an item")),
    }
}

/// What netclient tells the server of this host, and the option that says it.
pub const PUSHED: [(&str, &str); 3] = [("listen_port", "-p"), ("mtu", "-m"), ("endpoint", "-e")];

fn push(netclient: &str, change: &Change) -> Result<Action> {
    let Change::Set { from, to, .. } = change else { return Err(Error::failed("this is no change of a value")) };
    let text = |value: &Value| json!(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let differing = PUSHED.iter().filter(|(member, _)| !to[*member].is_null() && to[*member] != from[*member]);
    let differing: Vec<&(&str, &str)> = differing.collect();
    let args = |of: &Value| -> Vec<Value> {
        let said = differing.iter().filter(|(member, _)| !of[*member].is_null());
        said.flat_map(|(member, option)| [json!(option), text(&of[*member])]).collect()
    };
    let call = |of: &Value| Call::on_host(COMMAND, netclient, "push", args(of));
    let told: Vec<String> = differing.iter().map(|(member, _)| format!("{member} to {}", to[*member])).collect();
    Ok(action(change, format!("Set {} of this host", told.join(", ")), call(to), back(UndoClass::Exact, call(from))))
}

/// Without what is only shown.
fn plain(members: &Value) -> Value {
    let shown = ["uses_remaining", "address", "address6", "public_key", "id", "version"];
    let kept = members
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| !shown.contains(&name.as_str()) && !value.is_null());
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

/// An object of the server.
fn object(key: &str, change: &Change, is_back: bool) -> Result<Action> {
    let what = match key {
        SERVER_NETWORKS => "network",
        KEYS => "enrollment key",
        CLIENTS => "client",
        _ => "host",
    };
    let name = change.item().unwrap_or_default();
    let call = |verb: &str, args: Vec<Value>| Call::on_host(HTTPS, &format!("{what} {name}"), verb, args);
    match change {
        Change::Create { .. } if is_back && key != SERVER_NETWORKS => {
            Err(Error::refused(format!("the {what} {name} had keys that nobody has any more")))
        }
        Change::Create { to, .. } => {
            let undo = back(UndoClass::Compensating, call("delete", Vec::new()));
            Ok(action(change, format!("Create the {what} {name} on the server"), call("create", vec![plain(to)]), undo))
        }
        Change::Update { from, to, .. } => {
            let class = if key == HOSTS { UndoClass::Compensating } else { UndoClass::Exact };
            let undo = back(class, call("set", vec![to.clone(), from.clone()]));
            let told: Vec<String> =
                to.as_object().into_iter().flatten().map(|(name, value)| format!("{name} to {value}")).collect();
            let title = format!("Set {} of the {what} {name} on the server", told.join(", "));
            Ok(action(change, title, call("set", vec![from.clone(), to.clone()]), undo))
        }
        Change::Delete { from, .. } => {
            let undo = match key {
                SERVER_NETWORKS => back(UndoClass::Compensating, call("create", vec![plain(from)])),
                _ => never(),
            };
            Ok(action(change, format!("Delete the {what} {name} on the server"), call("delete", Vec::new()), undo))
        }
        _ => Err(Error::failed("this is no change of an item")),
    }
}
