//! What a mapping calls secret, as what a recorder must not note.

use crate::bus::recording::Hidden;
use crate::plugin::Mapping;
use crate::plugin::mapping::StateSection;
use crate::plugin::mapping::items;

/// Everything through which `mapping` reads a secret: properties, keys in replies, and where neither can be told apart
/// from what is around it, the whole reply.
pub(super) fn of(mapping: &Mapping) -> Vec<Hidden> {
    let mut hidden = Vec::new();
    for section in mapping.file.state_mapping.values() {
        if section.secret {
            whole_key(mapping, section, &mut hidden);
        }
        for path in section.read.iter().flat_map(|read| &read.secret) {
            hidden.push(Hidden::Keys { keys: path.split('.').map(str::to_owned).collect(), why: why() });
        }
        let own = section.read.as_ref().and_then(|read| read.interface.as_ref()).unwrap_or(&mapping.interface);
        for member in section.members.values().filter(|member| member.secret || section.secret) {
            if let Some(name) = &member.property {
                hidden.push(of_interface(member.interface.as_ref().unwrap_or(own), name));
            }
            if let Some(path) = &member.path {
                hidden.push(Hidden::Keys { keys: path.split('.').map(str::to_owned).collect(), why: why() });
            }
            // A column has no name on the wire, only a position among its neighbours.
            if member.column.is_some() {
                replies(mapping, section, &mut hidden);
            }
        }
    }
    hidden
}

fn whole_key(mapping: &Mapping, section: &StateSection, hidden: &mut Vec<Hidden>) {
    let Some(read) = &section.read else { return };
    if let Some(name) = &read.property {
        hidden.push(of_interface(read.interface.as_ref().unwrap_or(&mapping.interface), name));
    }
    replies(mapping, section, hidden);
}

/// The replies that the rows and values of a key come from.
fn replies(mapping: &Mapping, section: &StateSection, hidden: &mut Vec<Hidden>) {
    for method in items::readers(section) {
        if let Ok(method) = mapping.method(&method) {
            hidden.push(of_interface(&method.interface, &method.member));
        }
    }
}

fn of_interface(interface: &str, name: &str) -> Hidden {
    Hidden::Member { interface: interface.to_owned(), name: name.to_owned(), why: why() }
}

fn why() -> String {
    "the mapping calls it secret".into()
}
