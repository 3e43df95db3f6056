//! The words of an introspection that have a form to keep.

use super::Access;
use super::parse::Fault;
use crate::bus::value::single_type;
use zbus::names::{InterfaceName, MemberName};

/// Longest name of a property or an argument; D-Bus's own limit for members.
pub(super) const MAX_NAME: usize = 255;

pub(super) fn interface_name(name: &str) -> Result<String, Fault> {
    InterfaceName::try_from(name).map(|_| name.to_owned()).map_err(|_| format!("{name:?} is no interface name"))
}

/// One complete type.
pub(super) fn type_signature(text: &str) -> Result<String, Fault> {
    single_type(text).map(|_| text.to_owned()).map_err(|error| error.message)
}

pub(super) fn member_name(name: &str) -> Result<String, Fault> {
    MemberName::try_from(name).map(|_| name.to_owned()).map_err(|_| format!("{name:?} is no member name"))
}

/// A member's name that may have hyphens too, as some services' properties do.
pub(super) fn property_name(name: &str) -> Result<String, Fault> {
    let is_name = !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_name { Ok(name.to_owned()) } else { Err(format!("{name:?} is no property name")) }
}

/// One or several elements of an object path, never `..`, never empty.
pub(super) fn child_name(name: &str) -> Result<String, Fault> {
    let is_element =
        |element: &str| !element.is_empty() && element.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if name.split('/').all(is_element) {
        Ok(name.to_owned())
    } else {
        Err(format!("{name:?} is no name of a child object"))
    }
}

/// The root may say its own path.
pub(super) fn root_name(name: &str) -> Result<(), Fault> {
    let relative = name.strip_prefix('/').unwrap_or(name);
    if relative.is_empty() || child_name(relative).is_ok() {
        Ok(())
    } else {
        Err(format!("{name:?} is no object path"))
    }
}

pub(super) fn access(text: &str) -> Result<Access, Fault> {
    [Access::Read, Access::Write, Access::ReadWrite]
        .into_iter()
        .find(|access| access.as_str() == text)
        .ok_or_else(|| format!("{text:?} is no access; it is \"read\", \"write\" or \"readwrite\""))
}
