//! The server's side: its REST API. Its errors are `{"Code","Message"}`, and what is not there may be any of them.

use super::settings::Settings;
use super::{CLIENTS, HOSTS, KEYS, SERVER_NETWORKS};
use crate::base::{Error, Kind, Result};
use crate::bus::Bus;
use crate::http::request;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The kinds of enrollment keys, as the server counts them from 1.
pub const TYPES: [&str; 3] = ["time", "uses", "unlimited"];

/// Members of a network and what the server calls them.
pub const OF_NETWORK: [&str; 5] = ["addressrange", "addressrange6", "defaultkeepalive", "defaultmtu", "auto_join"];

/// A server that is asked with our key.
pub struct Server<'a> {
    settings: &'a Settings,
    url: &'a str,
    token: String,
}

/// What is there, with the identifiers that requests need.
#[derive(Debug, Default)]
pub struct Objects {
    pub networks: BTreeMap<String, Value>,
    /// By name.
    pub hosts: BTreeMap<String, Value>,
    pub nodes: Vec<Value>,
    /// By tag.
    pub keys: BTreeMap<String, Value>,
    pub clients: Vec<Value>,
}

impl<'a> Server<'a> {
    pub fn open(settings: &'a Settings, bus: &Bus) -> Result<Self> {
        let url = settings.server()?;
        let token = bus.secret(&settings.token)?.trim().to_owned();
        Ok(Self { settings, url, token })
    }

    /// Makes a request; the answer's body.
    pub fn ask(&self, verb: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}{path}", self.url);
        // An enrollment key is deleted by what it is: so a whole path is never repeated.
        let place = format!("{verb} {}{}", self.url, path.split('/').take(4).collect::<Vec<_>>().join("/"));
        let answer = request(verb, &url, Some(&self.token), body, &self.settings.network());
        let answer = answer.map_err(|error| error.on(place.clone()))?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        let said = answer.body["Message"].as_str().unwrap_or("it says nothing").trim().to_owned();
        let message = format!("the server refuses ({}): {said}", answer.status);
        let error = match answer.status {
            401 | 403 => Error::new(Kind::Denied, message)
                .hint(format!("is the secret {:?} the server's master key or a valid token?", self.settings.token)),
            502..=504 => Error::new(Kind::Unavailable, message),
            _ => Error::failed(message),
        };
        Err(error.on(place))
    }

    /// Reads everything.
    pub fn objects(&self) -> Result<Objects> {
        let list = |path: &str| match self.ask("GET", path, None)? {
            Value::Array(list) => Ok(list),
            Value::Null => Ok(Vec::new()),
            _ => Err(Error::failed("the server answers with no list").on(format!("GET {}{path}", self.url))),
        };
        let named = |list: Vec<Value>, name: &str| -> BTreeMap<String, Value> {
            list.into_iter().filter_map(|one| Some((one[name].as_str()?.to_owned(), one))).collect()
        };
        let keys =
            list("/api/v1/enrollment-keys")?.into_iter().filter_map(|key| match key["tags"].as_array()?.as_slice() {
                [Value::String(tag)] => Some((tag.clone(), key)),
                _ => None,
            });
        Ok(Objects {
            networks: named(list("/api/networks")?, "netid"),
            hosts: named(list("/api/hosts")?, "name"),
            nodes: list("/api/nodes")?,
            keys: keys.collect(),
            clients: list("/api/extclients")?,
        })
    }
}

impl Objects {
    /// The networks of a host.
    fn networks_of(&self, host: &Value) -> Vec<&str> {
        let of_host = self.nodes.iter().filter(|node| node["hostid"] == host["id"]);
        let mut names: Vec<&str> = of_host.filter_map(|node| node["network"].as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The name of the host of a node.
    fn host_of(&self, node: &str) -> Option<&str> {
        let node = self.nodes.iter().find(|one| one["id"] == node)?;
        let (name, _) = self.hosts.iter().find(|(_, host)| host["id"] == node["hostid"])?;
        Some(name)
    }

    /// The node by which a host lets clients into a network.
    pub fn gateway(&self, host: &str, network: &str) -> Option<&str> {
        let id = &self.hosts.get(host)?["id"];
        let is_it =
            |node: &&Value| node["hostid"] == *id && node["network"] == network && node["isingressgateway"] == true;
        self.nodes.iter().find(is_it)?["id"].as_str()
    }

    /// Whether somebody is in a network.
    pub fn members(&self, network: &str) -> Vec<&str> {
        let there = self.hosts.iter().filter(|(_, host)| self.networks_of(host).contains(&network));
        there.map(|(name, _)| name.as_str()).collect()
    }

    /// As a query shows it; keys, tokens and private keys are left out.
    pub fn state(&self) -> Map<String, Value> {
        let some = |from: &Value, names: &[(&str, &str)]| -> Map<String, Value> {
            let is_said = |value: &Value| !value.is_null() && *value != "";
            let one = |(name, field): &(&str, &str)| {
                Some(((*name).to_owned(), from[*field].clone())).filter(|(_, v)| is_said(v))
            };
            names.iter().filter_map(one).collect()
        };
        let networks = self.networks.iter().map(|(name, network)| {
            let fields = OF_NETWORK.map(|field| (field, field));
            (name.clone(), Value::Object(some(network, &fields)))
        });
        let hosts = self.hosts.iter().map(|(name, host)| {
            let mut members = some(host, &[("id", "id"), ("version", "version"), ("endpoint", "endpointip")]);
            members.insert("networks".into(), json!(self.networks_of(host)));
            (name.clone(), Value::Object(members))
        });
        let keys = self.keys.iter().map(|(tag, key)| {
            let mut members = some(key, &[("networks", "networks"), ("uses_remaining", "uses_remaining")]);
            if let Some(Value::Array(list)) = members.get_mut("networks") {
                list.sort_by_key(ToString::to_string);
            }
            let at = key["type"].as_u64().and_then(|at| usize::try_from(at).ok()).and_then(|at| at.checked_sub(1));
            members.extend(at.and_then(|at| TYPES.get(at)).map(|name| ("type".to_owned(), json!(name))));
            (tag.clone(), Value::Object(members))
        });
        let clients = self.clients.iter().filter_map(|client| {
            let name = format!("{}/{}", client["network"].as_str()?, client["clientid"].as_str()?);
            let fields = [
                ("address", "address"),
                ("address6", "address6"),
                ("dns", "dns"),
                ("enabled", "enabled"),
                ("extra_allowed_ips", "extraallowedips"),
                ("public_key", "publickey"),
            ];
            let mut members = some(client, &fields);
            let gateway = client["ingressgatewayid"].as_str().and_then(|node| self.host_of(node));
            members.extend(gateway.map(|gateway| ("gateway".to_owned(), json!(gateway))));
            Some((name, Value::Object(members)))
        });
        Map::from_iter([
            (SERVER_NETWORKS.to_owned(), Value::Object(networks.collect())),
            (HOSTS.to_owned(), Value::Object(hosts.collect())),
            (KEYS.to_owned(), Value::Object(keys.collect())),
            (CLIENTS.to_owned(), Value::Object(clients.collect())),
        ])
    }
}
