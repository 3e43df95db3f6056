//! What the live service says its members are, asked once per object, and compared with what the mapping relies on.

use crate::base::{Error, Kind, Result};
use crate::bus::introspection::{Interface, Method as LiveMethod, Node, Property};
use crate::bus::{Bus, read};
use crate::plugin::mapping::{Mapping, Method};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Introspection of the objects this plugin has to do with, by object path or by transaction.
#[derive(Debug, Default)]
pub struct LiveInterfaces {
    nodes: RefCell<HashMap<String, Rc<Node>>>,
}

impl LiveInterfaces {
    /// The input type signature of `method` on the live service.
    ///
    /// Fails with [`Kind::InterfaceChanged`] when the service lacks it, or has other types than the mapping says.
    pub fn input_signature(&self, bus: &Bus, mapping: &Mapping, method: &Method<'_>) -> Result<String> {
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
