//! What the live service says its members are, asked once per object, and compared with what the mapping relies on.

use crate::base::{Error, Kind, Result};
use crate::bus::introspection::{Interface, Method as LiveMethod, Node, Property};
use crate::bus::{Bus, read};
use crate::plugin::mapping::{Mapping, Method};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// Introspection of the objects this plugin has to do with, by object path or by transaction.
#[derive(Debug, Default)]
pub struct LiveInterfaces {
    nodes: RefCell<HashMap<String, Rc<Node>>>,
    is_checked: Cell<bool>,
}

impl LiveInterfaces {
    /// The input type signature of `method` on the live service.
    ///
    /// Fails with [`Kind::InterfaceChanged`] when the service lacks it, or has other types than the mapping says.
    pub fn input_signature(&self, bus: &Bus, mapping: &Mapping, method: &Method<'_>) -> Result<String> {
        // An item that is not there yet has no object to ask: then the mapping's word is taken, and the service's own
        // check of the call stands behind it.
        if method.section.on.is_some() && method.path == mapping.path {
            return method.section.arg_types.as_ref().map(|types| types.concat()).ok_or_else(|| {
                Error::bad_input("a method that is called on items that are just being made needs its arg_types")
                    .on(format!("{}: methods.{}", mapping.source, method.name))
            });
        }
        let node = match method.transaction {
            Some((name, _)) => self.transaction_node(bus, mapping, name)?,
            None => self.node(bus, mapping, &method.path)?,
        };
        let live = self.find_method(mapping, &node, method)?;
        let signature = live.input_signature();
        if let Some(types) = &method.section.arg_types
            && types.concat() != signature
        {
            return Err(Error::new(
                Kind::InterfaceChanged,
                format!(
                    "the mapping says {} takes {:?}, but the service takes {signature:?}",
                    method.member,
                    types.concat()
                ),
            )
            .on(format!("{}: methods.{}.arg_types", mapping.source, method.name))
            .hint(format!("write arg_types = {}", as_list(&live))));
        }
        check_fingerprint(mapping, &method.interface, &method.member, &signature)?;
        Ok(signature)
    }

    /// A property of the live service.
    pub fn property(&self, bus: &Bus, mapping: &Mapping, path: &str, interface: &str, name: &str) -> Result<Property> {
        let node = self.node(bus, mapping, path)?;
        let found = node.interfaces.get(interface).and_then(|interface| interface.properties.get(name));
        let property = found.cloned().ok_or_else(|| lacks(mapping, path, interface, &format!("property {name}")))?;
        check_fingerprint(mapping, interface, name, &property.type_signature)?;
        Ok(property)
    }

    /// Compares the mapping's fingerprint with the service's main object, and with others that its keys are read from.
    ///
    /// Fails with [`Kind::InterfaceChanged`], naming every member that is missing or another.
    pub fn check_fingerprint(&self, bus: &Bus, mapping: &Mapping) -> Result<()> {
        let pinned = &mapping.file.fingerprint;
        if pinned.is_empty() || self.is_checked.get() {
            return Ok(());
        }
        let methods = mapping.file.methods.values().filter(|m| m.transaction.is_none() && m.service.is_none());
        let of_methods = methods.filter(|m| m.on.is_none()).filter_map(|m| m.path.as_deref());
        let of_keys = mapping.file.state_mapping.values().filter_map(|key| key.read.as_ref()?.path.as_deref());
        let paths: BTreeSet<&str> = of_methods.chain(of_keys).chain([mapping.path.as_str()]).collect();
        let nodes = paths.iter().map(|path| self.node(bus, mapping, path)).collect::<Result<Vec<_>>>()?;
        let mut errors = Vec::new();
        for key in pinned.keys() {
            let Some((interface, member)) = key.rsplit_once('.') else { continue };
            let Some(live) = nodes.iter().find_map(|node| node.interfaces.get(interface)) else {
                // Interfaces of items and transactions are compared when one is there to be asked.
                if interface == mapping.interface {
                    errors.push(lacks(mapping, &mapping.path, interface, "member of that interface"));
                }
                continue;
            };
            let of_method = live.methods.get(member).map(LiveMethod::input_signature);
            let found = of_method.or_else(|| live.properties.get(member).map(|p| p.type_signature.clone()));
            let checked = match found {
                Some(signature) => check_fingerprint(mapping, interface, member, &signature),
                None => Err(lacks(mapping, &mapping.path, interface, &format!("member {member}"))),
            };
            errors.extend(checked.err());
        }
        Error::all(errors).map_or(Ok(()), Err)?;
        self.is_checked.set(true);
        Ok(())
    }

    fn transaction_node(&self, bus: &Bus, mapping: &Mapping, name: &str) -> Result<Rc<Node>> {
        let key = transaction_key(name);
        if let Some(node) = self.nodes.borrow().get(&key) {
            return Ok(node.clone());
        }
        let path = super::transaction::create(bus, mapping, name)?;
        let node = Rc::new(read::introspect(bus, &mapping.service, &path, mapping.manner(None))?);
        self.nodes.borrow_mut().insert(key, node.clone());
        Ok(node)
    }

    fn node(&self, bus: &Bus, mapping: &Mapping, path: &str) -> Result<Rc<Node>> {
        if let Some(node) = self.nodes.borrow().get(path) {
            return Ok(node.clone());
        }
        let node = Rc::new(read::introspect(bus, &mapping.service, path, mapping.manner(None))?);
        self.nodes.borrow_mut().insert(path.to_owned(), node.clone());
        Ok(node)
    }

    fn find_method(&self, mapping: &Mapping, node: &Node, method: &Method<'_>) -> Result<LiveMethod> {
        let interface: Option<&Interface> = node.interfaces.get(&method.interface);
        interface.and_then(|interface| interface.methods.get(&method.member)).cloned().ok_or_else(|| {
            // The commonest mistake is the right member on the wrong interface: say where it is.
            let elsewhere = node.interfaces.iter().find(|(_, i)| i.methods.contains_key(&method.member));
            let error = lacks(mapping, &method.path, &method.interface, &format!("method {}", method.member))
                .on(format!("{}: methods.{}", mapping.source, method.name));
            match elsewhere {
                Some((name, _)) => error.hint(format!("this object has it on the interface {name}")),
                None => error,
            }
        })
    }
}

fn transaction_key(name: &str) -> String {
    format!("transaction {name}")
}

fn check_fingerprint(mapping: &Mapping, interface: &str, member: &str, signature: &str) -> Result<()> {
    let key = format!("{interface}.{member}");
    match mapping.file.fingerprint.get(&key) {
        Some(pinned) if pinned != signature => Err(Error::new(
            Kind::InterfaceChanged,
            format!(
                "the mapping was written for {key} with the type signature {pinned:?}, the service has {signature:?}"
            ),
        )
        .on(format!("{}: fingerprint", mapping.source))
        .hint("the service is another version than the mapping was written for; update the mapping")),
        _ => Ok(()),
    }
}

fn lacks(mapping: &Mapping, path: &str, interface: &str, member: &str) -> Error {
    Error::new(Kind::InterfaceChanged, format!("the service has no {member} on {interface} at {path}"))
        .on(mapping.source.clone())
        .hint(format!("see what it has: op-discover {}", mapping.service))
}

fn as_list(method: &LiveMethod) -> String {
    let types: Vec<String> = method.inputs.iter().map(|arg| format!("{:?}", arg.type_signature)).collect();
    format!("[{}]", types.join(", "))
}
