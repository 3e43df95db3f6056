//! What a synthetic service has: everything that a seed decides. Data only; `generate.rs` makes it, `xml.rs` and
//! `files.rs` write it down, `service.rs` acts it out.

use super::value::Val;

/// A whole service.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Where all of it comes from.
    pub seed: u64,
    /// Name of its plugin.
    pub plugin: String,
    /// Its bus name.
    pub service: String,
    /// Its main object.
    pub path: String,
    /// Its main interface.
    pub interface: String,
    /// Another object of it.
    pub second_path: String,
    /// The interface of the other object.
    pub second_interface: String,
    /// Properties, mapped and not.
    pub properties: Vec<Property>,
    /// Methods, but those of the transaction objects.
    pub methods: Vec<Method>,
    /// Query methods (call pattern 2).
    pub queries: Vec<Query>,
    /// Sets (call patterns 3, 5 and 7).
    pub sets: Vec<ItemSet>,
    /// Transaction objects (call pattern 5).
    pub transaction: Transaction,
    /// What is called before and after the changes of the key named first (call pattern 8).
    pub hooks: Hooks,
    /// Whether the mapping pins the members it relies on.
    pub has_fingerprint: bool,
}

/// An argument.
#[derive(Debug, Clone)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// Its type signature.
    pub sig: String,
}

/// Who may do what with a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Written only.
    Write,
    /// Both.
    ReadWrite,
}

/// How a property is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Not at all.
    Never,
    /// By `Properties.Set` (call pattern 1).
    Property,
    /// By a method of its own, or together with others (call pattern 1b): an index into [`Spec::methods`].
    Method(usize),
    /// By one method that makes it true, and another that makes it false (call pattern 1c).
    Switch(usize, usize),
}

/// How the mapping compares a dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merging {
    /// As one value.
    Whole,
    /// As one value, the mapping telling the types of its variants.
    WholeTyped,
    /// Key by key, written whole.
    Replace,
    /// Key by key; the service merges.
    Patch,
}

/// A property.
#[derive(Debug, Clone)]
pub struct Property {
    /// Key of the plugin's state; none when it is not mapped.
    pub key: Option<String>,
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// Its object.
    pub path: String,
    /// Its first value.
    pub initial: Val,
    /// Who may do what.
    pub access: Access,
    /// How it is written.
    pub writing: Writing,
    /// How it is compared.
    pub merging: Merging,
}

/// What a method does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Sets properties to its free arguments, in order.
    Set(Vec<usize>),
    /// Merges its free argument into a property.
    Merge(usize),
    /// Makes a boolean property true, or false.
    Switch(usize, bool),
    /// Answers the rows of a query.
    Query(usize),
    /// Answers what there is for a set: rows, or the names that are in.
    List(usize),
    /// Puts items into a set.
    Add(usize),
    /// Takes items out of a set.
    Remove(usize),
    /// Answers identifiers for names.
    Find(usize),
    /// Makes a transaction object.
    Create,
    /// A hook: counts its calls.
    Hook,
    /// Nobody has a reason to call it.
    Trap,
}

/// A method.
#[derive(Debug, Clone)]
pub struct Method {
    /// Its name in the mapping.
    pub name: String,
    /// The member.
    pub member: String,
    /// Its interface.
    pub interface: String,
    /// Its object; empty for methods of transaction objects.
    pub path: String,
    /// What it takes.
    pub inputs: Vec<Arg>,
    /// What it answers.
    pub outputs: Vec<Arg>,
    /// The arguments that must be exactly these: a call without them is refused.
    pub fixed: Vec<(usize, Val)>,
    /// Whether it changes nothing.
    pub safe: bool,
    /// What it does.
    pub role: Role,
    /// Name and a part of the text of the error that means that it is so already.
    pub already: Option<(String, String)>,
}

impl Method {
    /// The type signature of what it takes.
    #[must_use]
    pub fn input_sig(&self) -> String {
        self.inputs.iter().map(|arg| arg.sig.as_str()).collect()
    }

    /// The arguments that are not fixed.
    #[must_use]
    pub fn free<'a, T>(&self, args: &'a [T]) -> Vec<&'a T> {
        let is_free = |at: &usize| !self.fixed.iter().any(|(fixed, _)| fixed == at);
        args.iter().enumerate().filter(|(at, _)| is_free(at)).map(|(_, arg)| arg).collect()
    }
}

/// A query method's key.
#[derive(Debug, Clone)]
pub struct Query {
    /// Key of the plugin's state.
    pub key: String,
    /// Index into [`Spec::methods`].
    pub method: usize,
    /// Columns.
    pub columns: Vec<Arg>,
    /// Rows.
    pub rows: Vec<Vec<Val>>,
    /// A column, and the values it must have.
    pub filter: Option<(usize, Vec<Val>)>,
    /// The column that keys the rows.
    pub keyed_by: Option<usize>,
}

/// How a set is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetKind {
    /// One call an item; read from a property.
    OneByOne,
    /// One call for all; read from a method's rows.
    AllAtOnce,
    /// By identifiers that another method finds; read from a method that answers names.
    Resolved,
    /// By transactions.
    Transaction,
}

/// Something that can be in a set.
#[derive(Debug, Clone)]
pub struct Item {
    /// What a person writes.
    pub name: String,
    /// What the service wants.
    pub id: String,
    /// Items that come with it.
    pub needs: Vec<String>,
    /// Bytes to download.
    pub download: u64,
    /// Bytes on disk.
    pub installed: u64,
}

/// A set.
#[derive(Debug, Clone)]
pub struct ItemSet {
    /// Key of the plugin's state.
    pub key: String,
    /// How it is changed.
    pub kind: SetKind,
    /// Everything that can be in it.
    pub universe: Vec<Item>,
    /// What is in it at first.
    pub initial: Vec<String>,
    /// What must stay.
    pub protected: Vec<String>,
    /// What stands between the parts of an identifier.
    pub separator: String,
    /// Columns of its rows: `id`, `state`, `text`, and one that says nothing, in any order.
    pub columns: Vec<Column>,
    /// What the state column says of an item that is in, and of one that is not.
    pub states: (Val, Val),
    /// Index of the property that holds it.
    pub property: Option<usize>,
    /// Indexes of the methods that list, add, remove and find.
    pub list: Option<usize>,
    /// See [`ItemSet::list`].
    pub add: usize,
    /// See [`ItemSet::list`].
    pub remove: usize,
    /// See [`ItemSet::list`].
    pub find: Option<usize>,
}

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The identifier.
    Id,
    /// Whether the item is in.
    State,
    /// A text for people.
    Text,
    /// Bytes to download.
    Download,
    /// Bytes on disk.
    Installed,
    /// How it ended.
    Outcome,
    /// In percent.
    Percent,
    /// Nothing.
    Noise,
}

/// A column of rows, or an argument of a signal.
#[derive(Debug, Clone)]
pub struct Column {
    /// What it is called.
    pub arg: Arg,
    /// What it is for.
    pub usage: Use,
}

/// A signal of a transaction object.
#[derive(Debug, Clone)]
pub struct Signal {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub columns: Vec<Column>,
}

/// The transaction objects.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Its name in the mapping.
    pub name: String,
    /// Index of the method that makes one.
    pub create: usize,
    /// The path of each, but its number.
    pub prefix: String,
    /// Their interface.
    pub interface: String,
    /// A call each needs first, and the member's only right arguments.
    pub setup: Method,
    /// Answers what is in.
    pub list: Method,
    /// Answers identifiers for names.
    pub resolve: Method,
    /// Puts items in; simulates when the flag says so.
    pub install: Method,
    /// Takes items out; simulates when the flag says so.
    pub uninstall: Method,
    /// Answers sizes.
    pub sizes: Method,
    /// Positions of the flag of `install` and `uninstall`.
    pub flag_at: (usize, usize),
    /// Values of the flag of `install` and `uninstall`: to do it, and to simulate it.
    pub flags: (Val, Val),
    /// Names in the mapping of the simulating forms of `install` and `uninstall`.
    pub simulations: (String, String),
    /// Brings one result.
    pub item: Signal,
    /// Brings one result of `sizes`.
    pub size: Signal,
    /// Says why it failed.
    pub error: Signal,
    /// Says how far it is.
    pub progress: Signal,
    /// Says that the machine is being changed.
    pub touched: Signal,
    /// Ends it.
    pub done: Signal,
    /// Says nothing of interest.
    pub noise: Signal,
    /// The outcome in `done` that means success, and one that means failure.
    pub outcomes: (Val, Val),
    /// The state in `touched` that means that the machine is being changed, and one that does not.
    pub phases: (Val, Val),
    /// Whether the first signals come before the reply to the method.
    pub signals_first: bool,
}

/// Hooks of a key.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// The key.
    pub key: String,
    /// Index of the method that is called before.
    pub before: usize,
    /// Index of the method that is called after.
    pub after: usize,
}

impl Spec {
    /// The service a seed stands for. The same seed gives the same service for ever.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        super::generate::spec(seed)
    }

    /// The property a key stands for.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<&Property> {
        self.properties.iter().find(|property| property.key.as_deref() == Some(key))
    }

    /// The only set of a kind.
    ///
    /// # Panics
    /// Never: every service has one set of each kind.
    #[must_use]
    pub fn set(&self, kind: SetKind) -> &ItemSet {
        self.sets.iter().find(|set| set.kind == kind).expect("every service has one set of each kind")
    }

    /// The transactions' methods.
    #[must_use]
    pub fn transaction_methods(&self) -> [&Method; 6] {
        let t = &self.transaction;
        [&t.setup, &t.list, &t.resolve, &t.install, &t.uninstall, &t.sizes]
    }

    /// All members of a pattern that the plugin uses to change `key`: the methods, or `Set`.
    #[must_use]
    pub fn writers(&self, key: &str) -> Vec<String> {
        if let Some(property) = self.property(key) {
            return match property.writing {
                Writing::Never => Vec::new(),
                Writing::Property => vec!["Set".into()],
                Writing::Method(method) => vec![self.methods[method].member.clone()],
                Writing::Switch(on, off) => {
                    [on, off].into_iter().map(|method| self.methods[method].member.clone()).collect()
                }
            };
        }
        let Some(set) = self.sets.iter().find(|set| set.key == key) else { return Vec::new() };
        match set.kind {
            SetKind::Transaction => {
                vec![self.transaction.install.member.clone(), self.transaction.uninstall.member.clone()]
            }
            _ => vec![self.methods[set.add].member.clone(), self.methods[set.remove].member.clone()],
        }
    }
}
