//! Netlink messages as bytes: a header, a fixed part, and attributes that may hold attributes. Pure.
//!
//! ```text
//! message:   length u32 | kind u16 | flags u16 | sequence u32 | port u32 | body, padded to 4
//! attribute: length u16 | kind u16 | value, padded to 4
//! ```
//! What a kernel sends is read without trust in its lengths: a part that does not fit ends the reading.

/// Length of a message's header.
pub const HEADER: usize = 16;

/// The bits of an attribute's kind that are flags.
const FLAGS: u16 = 0xc000;

/// The flag of an attribute that holds attributes.
const NESTED: u16 = 0x8000;

/// One message as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'b> {
    /// What it is.
    pub kind: u16,
    /// What is special about it.
    pub flags: u16,
    /// The request it answers.
    pub sequence: u32,
    /// All after the header.
    pub body: &'b [u8],
}

/// The messages of one datagram.
pub fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(rest, 0)? as usize;
        if length < HEADER || length > rest.len() {
            return None;
        }
        let message = Message {
            kind: u16_at(rest, 4)?,
            flags: u16_at(rest, 6)?,
            sequence: u32_at(rest, 8)?,
            body: &rest[HEADER..length],
        };
        rest = rest.get(padded(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in `rest`: kind without flags, and value.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        if length < 4 || length > rest.len() {
            return None;
        }
        let attribute = (u16_at(rest, 2)? & !FLAGS, &rest[4..length]);
        rest = rest.get(padded(length)..).unwrap_or_default();
        Some(attribute)
    })
}

/// The attribute of this kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A text that ends with a zero byte, or with the attribute.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// The number at `at`, in the machine's order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The number at `at`, in the machine's order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// The body of a message that is being written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// A body that begins with these bytes.
    pub fn new(fixed: &[u8]) -> Self {
        Self(fixed.to_vec())
    }

    /// Adds an attribute.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(padded(self.0.len()), 0);
    }

    /// Adds an attribute that holds a text.
    pub fn put_text(&mut self, kind: u16, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// Adds an attribute that holds a number.
    pub fn put_u32(&mut self, kind: u16, number: u32) {
        self.put(kind, &number.to_ne_bytes());
    }

    /// Adds an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, inner: &Self) {
        self.put(kind | NESTED, &inner.0);
    }

    /// The whole message.
    pub fn into_message(self, kind: u16, flags: u16, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(HEADER + self.0.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(self.0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let mut inner = Body::default();
        inner.put_text(1, "bridge");
        let mut body = Body::new(&[7; 16]);
        body.put_text(3, "br0");
        body.put_u32(4, 1400);
        body.nest(18, &inner);
        let bytes = body.into_message(16, 5, 9);
        // As `ip` sends it: length, kind, flags, sequence, port; then the name with its zero byte and padding.
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes[32..40], [8, 0, 3, 0, b'b', b'r', b'0', 0]);
        let message = messages(&bytes).next().unwrap();
        assert_eq!((message.kind, message.flags, message.sequence), (16, 5, 9));
        let attributes: Vec<_> = attributes(&message.body[16..]).collect();
        assert_eq!(text(attributes[0].1), "br0");
        assert_eq!(attributes[1], (4, &1400u32.to_ne_bytes()[..]));
        assert_eq!(attribute(attributes[2].1, 1).map(text).as_deref(), Some("bridge"));
        assert_eq!(messages(&bytes[..bytes.len() - 1]).count(), 0, "a cut message is none");
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_read_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            for message in messages(&bytes) {
                prop_assert!(message.body.len() + HEADER <= bytes.len());
                for (_, value) in attributes(message.body) {
                    let _ = (text(value), attributes(value).count());
                }
            }
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4 + 1);
        }
    }
}
