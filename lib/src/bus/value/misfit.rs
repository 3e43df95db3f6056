//! Where a value stands, and what is said when it does not fit.

use crate::base::Error;
use serde_json::Value;
use zbus::Signature;

/// Most misfits that are kept.
const MAX_ERRORS: usize = 50;
/// Most characters of a value that an error repeats.
const MAX_SHOWN: usize = 80;

/// A place in a document, kept on the stack and written out only when something is wrong.
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Root(&'a str),
    /// A key as the document has it, and as D-Bus has it.
    Key(&'a str, &'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(super) fn root(at: &'a str) -> Self {
        Self { parent: None, step: Step::Root(at) }
    }

    pub(super) fn key<'b>(&'b self, name: &'b str, raw: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Key(name, raw) }
    }

    pub(super) fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// The dictionary keys on the way, joined with dots: a key of [`super::VariantTypes`].
    pub(super) fn variant_key(&self) -> String {
        let mut key = self.parent.map(Path::variant_key).unwrap_or_default();
        if let Step::Key(_, raw) = self.step {
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(raw);
        }
        key
    }

    fn text(&self) -> String {
        let mut text = self.parent.map(Path::text).unwrap_or_default();
        match self.step {
            Step::Root(at) => text.push_str(at),
            Step::Key(name, _) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
        text
    }
}

/// The misfits found so far.
pub(super) struct Report {
    errors: Vec<Error>,
    is_concealing: bool,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { errors: Vec::new(), is_concealing: false }
    }

    /// A report that never repeats a value.
    pub(super) fn concealing() -> Self {
        Self { errors: Vec::new(), is_concealing: true }
    }

    pub(super) fn into_errors(self) -> Vec<Error> {
        self.errors
    }

    fn add<T>(&mut self, error: Error) -> Option<T> {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
        None
    }

    /// `value` is none of type `signature`. The answer is always `None`.
    pub(super) fn misfit<T>(&mut self, value: &Value, signature: &Signature, at: &Path<'_>) -> Option<T> {
        let message = format!("{} does not fit {signature}, {}", self.shown(value), expected(signature));
        self.add(Error::bad_input(message).on(at.text()))
    }

    /// Nobody knows the type of the variant `value`.
    pub(super) fn untyped<T>(&mut self, value: &Value, at: &Path<'_>) -> Option<T> {
        let message = format!("{} does not fit v: the type of this variant is not known", self.shown(value));
        let hint =
            "name it in the mapping's variant_types, or write {\"$variant\":{\"signature\":\"s\",\"value\":...}}";
        self.add(Error::bad_input(message).on(at.text()).hint(hint))
    }

    /// Another reason, which repeats no value but may name a key.
    pub(super) fn refuse<T>(&mut self, at: &Path<'_>, why: &str) -> Option<T> {
        self.add(Error::bad_input(why).on(at.text()))
    }

    fn shown(&self, value: &Value) -> String {
        if self.is_concealing {
            return "a secret".to_owned();
        }
        let text = value.to_string();
        match text.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    }
}

/// What fits `signature`, in words.
fn expected(signature: &Signature) -> String {
    let range = |from: &dyn ToString, to: &dyn ToString| format!("{} to {}", from.to_string(), to.to_string());
    match signature {
        Signature::U8 => range(&u8::MIN, &u8::MAX),
        Signature::I16 => range(&i16::MIN, &i16::MAX),
        Signature::U16 => range(&u16::MIN, &u16::MAX),
        Signature::I32 => range(&i32::MIN, &i32::MAX),
        Signature::U32 => range(&u32::MIN, &u32::MAX),
        Signature::I64 => range(&i64::MIN, &i64::MAX),
        Signature::U64 => range(&u64::MIN, &u64::MAX),
        Signature::Bool => "true or false".into(),
        Signature::F64 => "a number or {\"$double\":\"NaN\"}, \"inf\" or \"-inf\"".into(),
        Signature::Str => "a string without NUL".into(),
        Signature::ObjectPath => "an object path like \"/org/example/Thing\"".into(),
        Signature::Signature => "a type signature of one type like \"a{sv}\"".into(),
        Signature::Variant => "a variant".into(),
        Signature::Fd => "a file descriptor, which no document can hold".into(),
        Signature::Array(element) if *element.signature() == Signature::U8 => {
            "a string, {\"$bytes\":\"base64\"} or an array of numbers".into()
        }
        Signature::Array(_) => "an array".into(),
        Signature::Dict { .. } => "an object".into(),
        Signature::Structure(fields) => format!("an array of {} values", fields.len()),
        Signature::Unit => "no value at all".into(),
    }
}
