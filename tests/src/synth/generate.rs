//! From a seed to a [`Spec`].

use super::random::{self, Names, Rng};
use super::spec::{
    Access, Arg, Column, Hooks, Item, ItemSet, Merging, Method, Property, Query, Role, SetKind, Signal, Spec,
    Transaction, Use, Writing,
};
use super::value::Val;

struct Maker {
    rng: Rng,
    names: Names,
    path: String,
    interface: String,
    properties: Vec<Property>,
    methods: Vec<Method>,
}

pub fn spec(seed: u64) -> Spec {
    let mut rng = Rng::new(seed);
    let mut names = Names::new(seed);
    let service = match rng.below(3) {
        0 => format!("org.{}.{}", names.word(), names.camel()),
        1 => format!("{}.{}.{}1", names.word(), names.word(), names.word()),
        _ => format!("net.{}_{}.{}.{}", names.word(), names.word(), names.word(), names.camel()),
    };
    let plugin = format!("{}-{}{}", names.word(), names.word(), rng.below(9));
    let path = if rng.one_in(2) {
        format!("/{}", service.replace('.', "/"))
    } else {
        format!("/{}/{}", names.word(), names.camel())
    };
    let interface = if rng.one_in(2) { service.clone() } else { format!("{service}.{}", names.camel()) };
    let second_path = format!("{path}/{}", names.word());
    let second_interface = format!("{service}.{}", names.camel());
    let mut maker = Maker { rng, names, path, interface, properties: Vec::new(), methods: Vec::new() };
    maker.plain_properties();
    maker.dictionaries();
    maker.several_by_one();
    maker.second_object(&second_path, &second_interface);
    let queries = vec![maker.query(false), maker.query(true)];
    let mut sets = Vec::new();
    for kind in [SetKind::OneByOne, SetKind::AllAtOnce, SetKind::Resolved, SetKind::Transaction] {
        let set = maker.set(kind, sets.len());
        sets.push(set);
    }
    let transaction = maker.transaction(&service, &sets[3]);
    let before = maker.method(&[], vec![], Role::Hook);
    let after = maker.method(&[], vec![], Role::Hook);
    for free in [&[][..], &["s"]] {
        maker.method(free, vec![], Role::Trap);
    }
    maker.switches();
    let hooks = Hooks { key: sets[1].key.clone(), before, after };
    let has_fingerprint = maker.rng.one_in(2);
    Spec {
        seed,
        plugin,
        service,
        path: maker.path,
        interface: maker.interface,
        second_path,
        second_interface,
        properties: maker.properties,
        methods: maker.methods,
        queries,
        sets,
        transaction,
        hooks,
        has_fingerprint,
    }
}

impl Maker {
    fn arg(&mut self, sig: &str) -> Arg {
        Arg { name: self.names.word(), sig: sig.to_owned() }
    }

    fn column(&mut self, sig: &str, usage: Use) -> Column {
        Column { arg: self.arg(sig), usage }
    }

    fn constant(&mut self) -> Val {
        match self.rng.below(6) {
            0 => Val::B(self.rng.one_in(2)),
            1 => Val::U(u32::try_from(self.rng.below(1000)).unwrap_or(0)),
            2 => Val::I(-i32::try_from(self.rng.below(1000)).unwrap_or(0)),
            3 => Val::T(self.rng.number() >> 20),
            4 => Val::strings([self.names.word()]),
            _ => Val::S(self.names.word()),
        }
    }

    /// A method of the main object: `free` arguments in order, with constants between them.
    fn method(&mut self, free: &[&str], outputs: Vec<Arg>, role: Role) -> usize {
        let safe = matches!(role, Role::Query(_) | Role::List(_) | Role::Find(_) | Role::Create);
        let constants = if matches!(role, Role::Create) { 0 } else { self.rng.below(3) };
        let mut method = self.detached(free, constants);
        (method.interface, method.path) = (self.interface.clone(), self.path.clone());
        (method.outputs, method.role, method.safe) = (outputs, role, safe);
        self.methods.push(method);
        self.methods.len() - 1
    }

    fn detached(&mut self, free: &[&str], constants: usize) -> Method {
        let member = self.names.camel();
        let name = if self.rng.one_in(2) { random::snake(&member) } else { self.names.snake() };
        let mut slots: Vec<Option<Val>> = vec![None; free.len()];
        for _ in 0..constants {
            let at = self.rng.below(slots.len() + 1);
            let constant = self.constant();
            slots.insert(at, Some(constant));
        }
        let mut free = free.iter();
        let mut inputs = Vec::new();
        for slot in &slots {
            let sig = slot.as_ref().map_or_else(|| (*free.next().unwrap_or(&"s")).to_owned(), Val::sig);
            inputs.push(self.arg(&sig));
        }
        let fixed = slots.into_iter().enumerate().filter_map(|(at, slot)| Some((at, slot?))).collect();
        Method {
            name,
            member,
            interface: String::new(),
            path: String::new(),
            inputs,
            outputs: Vec::new(),
            fixed,
            safe: true,
            role: Role::Hook,
            already: None,
        }
    }

    fn property(&mut self, initial: Val, access: Access, writing: Writing) -> usize {
        let key = Some(self.names.snake());
        let name = if self.rng.one_in(4) { self.names.snake() } else { self.names.camel() };
        self.properties.push(Property {
            key,
            name,
            interface: self.interface.clone(),
            path: self.path.clone(),
            initial,
            access,
            writing,
            merging: Merging::Whole,
        });
        self.properties.len() - 1
    }

    /// One property of every type, some written by `Set`, some by a method of their own.
    fn plain_properties(&mut self) {
        let mut types: Vec<String> =
            ["y", "b", "n", "q", "i", "u", "x", "t", "d", "s", "o", "g", "ay", "as"].map(str::to_owned).into();
        for _ in 0..4 {
            let nested = random::type_signature(&mut self.rng, 3);
            types.push(nested);
        }
        self.rng.shuffle(&mut types);
        for signature in types {
            let initial = random::value(&mut self.rng, &signature);
            if self.rng.one_in(3) {
                let property = self.property(initial, Access::Read, Writing::Never);
                let setter = self.method(&[&signature], vec![], Role::Set(vec![property]));
                self.properties[property].writing = Writing::Method(setter);
            } else {
                self.property(initial, Access::ReadWrite, Writing::Property);
            }
        }
        for signature in ["v", "av", "a(sv)"] {
            let initial = random::value(&mut self.rng, signature);
            self.property(initial, Access::Read, Writing::Never);
        }
        let unmapped = self.property(Val::s("not mapped"), Access::ReadWrite, Writing::Property);
        self.properties[unmapped].key = None;
        let hidden = self.property(Val::s("write only"), Access::Write, Writing::Property);
        self.properties[hidden].key = None;
    }

    fn options(&mut self) -> Val {
        let count = self.rng.within(2..=4);
        let mut entries = Vec::new();
        for at in 0..count {
            let mut key = self.names.word();
            if at == 0 && self.rng.one_in(4) {
                key.insert(0, '$');
            }
            let inner = if at == 1 && self.rng.one_in(2) {
                let entry = Val::entry(Val::S(self.names.word()), Val::V(Box::new(Val::U(7))));
                Val::A("{sv}".into(), vec![entry])
            } else {
                // A dictionary in here would be merged key by key, and could not become an empty one.
                let signature = loop {
                    let signature = random::type_signature(&mut self.rng, 1);
                    if !signature.starts_with("a{") {
                        break signature;
                    }
                };
                random::value(&mut self.rng, &signature)
            };
            entries.push(Val::entry(Val::S(key), Val::V(Box::new(inner))));
        }
        Val::A("{sv}".into(), entries)
    }

    fn dictionaries(&mut self) {
        for merging in [Merging::WholeTyped, Merging::Replace, Merging::Patch] {
            let initial = self.options();
            let property = self.property(initial, Access::ReadWrite, Writing::Property);
            self.properties[property].merging = merging;
            if merging == Merging::Patch {
                let method = self.method(&["a{sv}"], vec![], Role::Merge(property));
                self.properties[property].writing = Writing::Method(method);
                self.properties[property].access = Access::Read;
            }
        }
    }

    /// Several properties that one method writes.
    fn several_by_one(&mut self) {
        let count = self.rng.within(2..=4);
        let mut members = Vec::new();
        let mut types = Vec::new();
        for _ in 0..count {
            let signature = random::type_signature(&mut self.rng, 1);
            let initial = random::value(&mut self.rng, &signature);
            types.push(signature);
            members.push(self.property(initial, Access::Read, Writing::Never));
        }
        let free: Vec<&str> = types.iter().map(String::as_str).collect();
        let method = self.method(&free, vec![], Role::Set(members.clone()));
        for property in members {
            self.properties[property].writing = Writing::Method(method);
        }
    }

    /// Booleans that one method makes true and another one false.
    fn switches(&mut self) {
        for initial in [false, true] {
            let property = self.property(Val::B(initial), Access::Read, Writing::Never);
            let [on, off] = [true, false].map(|is_on| self.method(&[], vec![], Role::Switch(property, is_on)));
            self.properties[property].writing = Writing::Switch(on, off);
        }
    }

    fn second_object(&mut self, path: &str, interface: &str) {
        for writing in [Writing::Property, Writing::Never] {
            let access = if writing == Writing::Property { Access::ReadWrite } else { Access::Read };
            let signature = random::type_signature(&mut self.rng, 2);
            let initial = random::value(&mut self.rng, &signature);
            let property = self.property(initial, access, writing);
            (self.properties[property].path, self.properties[property].interface) = (path.into(), interface.into());
        }
    }

    fn query(&mut self, is_keyed: bool) -> Query {
        let mut columns = vec![self.arg("s"), self.arg("u")];
        for _ in 0..self.rng.below(4) {
            let signature = random::type_signature(&mut self.rng, 1);
            columns.push(self.arg(&signature));
        }
        self.rng.shuffle(&mut columns);
        let name_at = columns.iter().position(|column| column.sig == "s").unwrap_or(0);
        let state_at = columns.iter().position(|column| column.sig == "u").unwrap_or(0);
        let mut rows = Vec::new();
        for number in 0..self.rng.within(0..=6) {
            let mut row: Vec<Val> = columns.iter().map(|column| random::value(&mut self.rng, &column.sig)).collect();
            row[name_at] = Val::S(format!("{}{number}", self.names.word()));
            row[state_at] = Val::U(u32::try_from(self.rng.below(3)).unwrap_or(0));
            rows.push(row);
        }
        let filter = match self.rng.below(3) {
            0 => None,
            1 => Some((state_at, vec![Val::U(1)])),
            _ => Some((state_at, vec![Val::U(0), Val::U(2)])),
        };
        let row: String = columns.iter().map(|column| column.sig.as_str()).collect();
        let outputs = vec![self.arg(&format!("a({row})"))];
        let number = usize::from(is_keyed);
        let method = self.method(&[], outputs, Role::Query(number));
        Query { key: self.names.snake(), method, columns, rows, filter, keyed_by: is_keyed.then_some(name_at) }
    }

    fn universe(&mut self, separator: &str, is_path: bool) -> Vec<Item> {
        let count = self.rng.within(8..=12);
        let mut items: Vec<Item> = Vec::new();
        for number in 0..count {
            let name = format!("{}{}", self.names.word(), self.rng.below(10));
            let id = if is_path {
                format!("{}/{}/{name}", self.path, self.names.word())
            } else {
                [name.as_str(), &format!("{}.{number}", self.rng.below(9)), "any", &self.names.word()].join(separator)
            };
            let needs =
                if number > 5 && self.rng.one_in(2) { vec![items[number - 4].name.clone()] } else { Vec::new() };
            let size = |rng: &mut Rng| 1000 * u64::try_from(rng.within(1..=90_000)).unwrap_or(1);
            let (download, installed) = (size(&mut self.rng), size(&mut self.rng));
            items.push(Item { name, id, needs, download, installed });
        }
        items
    }

    fn set(&mut self, kind: SetKind, number: usize) -> ItemSet {
        let separator = (*self.rng.pick(&[";", "|", "::"])).to_owned();
        let universe = self.universe(&separator, kind == SetKind::Resolved);
        let initial: Vec<String> = universe.iter().take(3).map(|item| item.name.clone()).collect();
        let mut columns = vec![
            self.column("s", Use::Id),
            self.column("u", Use::State),
            self.column("s", Use::Text),
            self.column("(bs)", Use::Noise),
        ];
        self.rng.shuffle(&mut columns);
        let row: String = columns.iter().map(|column| column.arg.sig.as_str()).collect();
        let base = u32::try_from(self.rng.within(1..=20)).unwrap_or(1);
        let mut set = ItemSet {
            key: self.names.snake(),
            kind,
            protected: vec![initial[0].clone()],
            initial,
            universe,
            separator,
            columns,
            states: (Val::U(base), Val::U(base + 3)),
            property: None,
            list: None,
            add: 0,
            remove: 0,
            find: None,
        };
        let free = match kind {
            SetKind::OneByOne => "s",
            SetKind::AllAtOnce => "as",
            SetKind::Resolved if self.rng.one_in(2) => "o",
            SetKind::Resolved => "ao",
            SetKind::Transaction => return set,
        };
        match kind {
            SetKind::OneByOne => {
                let property = self.property(Val::strings(&set.initial), Access::Read, Writing::Never);
                self.properties[property].key = None;
                set.property = Some(property);
            }
            SetKind::AllAtOnce => {
                let outputs = vec![self.arg(&format!("a({row})"))];
                set.list = Some(self.method(&[], outputs, Role::List(number)));
            }
            _ => {
                let outputs = vec![self.arg("as")];
                set.list = Some(self.method(&[], outputs, Role::List(number)));
                let outputs = vec![self.arg("a(so)")];
                set.find = Some(self.method(&["as"], outputs, Role::Find(number)));
            }
        }
        set.add = self.method(&[free], vec![], Role::Add(number));
        set.remove = self.method(&[free], vec![], Role::Remove(number));
        for method in [set.add, set.remove] {
            let error = format!("{}.Error.{}", self.interface, self.names.camel());
            self.methods[method].already = Some((error, format!("already {}", self.names.word())));
        }
        set
    }

    fn signal(&mut self, columns: &[(&str, Use)]) -> Signal {
        let mut columns: Vec<Column> = columns.iter().map(|(sig, usage)| self.column(sig, *usage)).collect();
        self.rng.shuffle(&mut columns);
        Signal { name: self.names.camel(), columns }
    }

    fn transaction_method(&mut self, free: &[&str], interface: &str) -> Method {
        let constants = self.rng.below(2);
        let mut method = self.detached(free, constants);
        interface.clone_into(&mut method.interface);
        method
    }

    fn transaction(&mut self, service: &str, set: &ItemSet) -> Transaction {
        let interface = format!("{service}.{}", self.names.camel());
        let outputs = vec![self.arg("o")];
        let create = self.method(&[], outputs, Role::Create);
        let state = set.states.0.sig();
        let flag = *self.rng.pick(&["t", "u", "i"]);
        let flag_of = move |number: usize| match flag {
            "t" => Val::T(number as u64),
            "u" => Val::U(u32::try_from(number).unwrap_or(0)),
            _ => Val::I(i32::try_from(number).unwrap_or(0)),
        };
        let (really, simulate) = (self.rng.below(3), 3 + self.rng.below(9));
        let doing = |maker: &mut Self| {
            let mut method = maker.transaction_method(&["as"], &interface);
            let at = maker.rng.below(method.inputs.len() + 1);
            for fixed in &mut method.fixed {
                fixed.0 += usize::from(fixed.0 >= at);
            }
            let arg = maker.arg(flag);
            method.inputs.insert(at, arg);
            method.fixed.push((at, flag_of(really)));
            method.fixed.sort_by_key(|(at, _)| *at);
            method.safe = false;
            (method, at)
        };
        let (install, install_flag) = doing(self);
        let (uninstall, uninstall_flag) = doing(self);
        let base = u32::try_from(self.rng.below(5)).unwrap_or(0);
        Transaction {
            name: self.names.word(),
            create,
            prefix: format!("/{}_{}", self.rng.below(999), self.names.word()),
            setup: {
                let mut setup = self.detached(&[], 1);
                setup.interface.clone_from(&interface);
                setup
            },
            list: self.transaction_method(&[], &interface),
            resolve: self.transaction_method(&["as"], &interface),
            sizes: self.transaction_method(&["as"], &interface),
            install,
            uninstall,
            flag_at: (install_flag, uninstall_flag),
            flags: (flag_of(really), flag_of(simulate)),
            simulations: (self.names.snake(), self.names.snake()),
            item: self.signal(&[("s", Use::Id), (&state, Use::State), ("s", Use::Text)]),
            size: if self.rng.one_in(2) {
                self.signal(&[("s", Use::Id), ("t", Use::Download), ("t", Use::Installed)])
            } else {
                self.signal(&[("a{sv}", Use::Id)])
            },
            error: self.signal(&[("u", Use::Noise), ("s", Use::Text)]),
            progress: self.signal(&[("u", Use::Percent), ("s", Use::Text), ("s", Use::Noise)]),
            touched: self.signal(&[("u", Use::State), ("s", Use::Noise)]),
            done: self.signal(&[("u", Use::Outcome), ("u", Use::Noise)]),
            noise: self.signal(&[("s", Use::Id), ("u", Use::State)]),
            outcomes: (Val::U(base), Val::U(base + 1)),
            phases: (Val::U(base + 2), Val::U(base + 9)),
            signals_first: self.rng.one_in(2),
            interface,
        }
    }
}
