//! What can go wrong with a service, on demand: `KIND[=ARG][@TARGET][:N]`.
//!
//! | kind | what happens |
//! |---|---|
//! | `slow=MS` | the reply comes that much later; other calls are answered meanwhile |
//! | `error=NAME\|TEXT` | nothing is done, and the D-Bus error is the answer |
//! | `getall-fails` | `GetAll` fails as a whole; `Get` works |
//! | `lie` | the reply says done, nothing was |
//! | `normalise` | another value than the one given is set, another item added or removed |
//! | `forgets` | of a dictionary, an entry that was there and stays as it was is left out |
//! | `already` | the error that means "it is so already", whether or not it is so; nothing is done |
//! | `no-reply` | it is done, and no reply ever comes |
//! | `wrong-reply` | it is done, and the reply has other types than it says |
//! | `vanish=before` | the process ends before it does anything |
//! | `vanish=between` | the process ends when it is done, before the reply |
//! | `vanish=after` | the process ends after the reply |
//! | `renamed` | the interface changes: the method has another name |
//! | `retyped` | the interface changes: the method's first argument has another type |
//! | `hostile-xml=KIND` | introspection wants to hurt, see [`super::xml::hostile`] |
//! | `transaction-error=TEXT` | the transaction fails before it touches anything |
//! | `transaction-error-late=TEXT` | it fails after it changed something |
//! | `transaction-vanish=before` | the process ends in the middle, before `touched` |
//! | `transaction-vanish=after` | the process ends after `touched` and the change |
//! | `transaction-silent` | it changes something and never says that it is done |
//! | `transaction-stalls` | it says nothing at all, ever |
//! | `quiet` | the property says that its changes are not announced, and they are not |
//! | `invalidates` | the property says that its changes are announced without the value, and they are |
//! | `forge` | somebody else sends the transaction's signals, among them a good end |
//!
//! Without `@TARGET` a fault concerns every call that it makes sense for: `slow` and `wrong-reply` all reads,
//! `hostile-xml` the main object, the others all changes. `@NAME` is the member, or for `Get` and `Set` the property;
//! for `hostile-xml` the object path; `@*` is every call. `:N` is the N-th such call only, `:N+` it and all later ones.

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub kind: String,
    /// Its argument; empty when there is none.
    pub arg: String,
    /// What it concerns.
    pub target: Option<String>,
    first: u64,
    last: u64,
    seen: u64,
}

const KINDS: [&str; 21] = [
    "slow",
    "error",
    "getall-fails",
    "lie",
    "normalise",
    "forgets",
    "already",
    "no-reply",
    "wrong-reply",
    "vanish",
    "renamed",
    "retyped",
    "hostile-xml",
    "transaction-error",
    "transaction-error-late",
    "transaction-vanish",
    "transaction-silent",
    "transaction-stalls",
    "quiet",
    "invalidates",
    "forge",
];

/// What a call is, to faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `Get`, `GetAll`, `Introspect` and methods that only read.
    Read,
    /// Everything that changes something.
    Change,
}

impl Fault {
    /// Reads one; the error says what was wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, first, last) = match text.rsplit_once(':') {
            Some((rest, n)) if n.trim_end_matches('+').parse::<u64>().is_ok() => {
                let number = n.trim_end_matches('+').parse().unwrap_or(1);
                (rest, number, if n.ends_with('+') { u64::MAX } else { number })
            }
            _ => (text, 1, u64::MAX),
        };
        let (rest, target) = match rest.rsplit_once('@') {
            Some((rest, target)) => (rest, Some(target.to_owned())),
            None => (rest, None),
        };
        let (kind, arg) = rest.split_once('=').unwrap_or((rest, ""));
        if !KINDS.contains(&kind) {
            return Err(format!("{kind:?} is no fault; there are: {}", KINDS.join(", ")));
        }
        Ok(Self { kind: kind.into(), arg: arg.into(), target, first, last, seen: 0 })
    }

    /// Whether the fault concerns `name`, a call of class `class`. Does not count.
    #[must_use]
    pub fn concerns(&self, name: &str, class: Class) -> bool {
        match self.target.as_deref() {
            Some("*") => true,
            Some(target) => target == name,
            None => match self.kind.as_str() {
                "slow" | "wrong-reply" => class == Class::Read,
                "getall-fails" => name == "GetAll",
                _ => class == Class::Change,
            },
        }
    }

    /// Counts a call that the fault concerns; whether it is one that goes wrong.
    pub fn strikes(&mut self) -> bool {
        self.seen += 1;
        (self.first..=self.last).contains(&self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, Fault};

    #[test]
    fn faults_are_read() {
        let mut fault = Fault::parse("error=a.b.C|with: colon@SetX:2").unwrap();
        assert_eq!((fault.kind.as_str(), fault.arg.as_str()), ("error", "a.b.C|with: colon"));
        assert!(fault.concerns("SetX", Class::Change) && !fault.concerns("SetY", Class::Change));
        assert_eq!([fault.strikes(), fault.strikes(), fault.strikes()], [false, true, false]);
        assert!(Fault::parse("slow=5").unwrap().concerns("Get", Class::Read));
        assert!(Fault::parse("nonsense").is_err());
    }
}
