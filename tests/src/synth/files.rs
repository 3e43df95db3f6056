//! The plugin folder of a [`Spec`]: what an author who knows the service would write.

use super::random::camel;
use super::spec::{Column, ItemSet, Merging, Method, Property, Role, SetKind, Signal, Spec, Use, Writing};
use super::value::Val;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

impl Spec {
    /// `plugin.toml`.
    #[must_use]
    pub fn plugin_toml(&self) -> String {
        format!(
            "[plugin]\nname = {}\nversion = \"1.0.0\"\ndescription = \"Made from seed {}\"\nsource = \"mapped\"\n\
             dbus_service = {}\n\n[capabilities]\nquery = true\napply = true\n",
            quote(&self.plugin),
            self.seed,
            quote(&self.service)
        )
    }

    /// `semantic-mapping.toml`.
    #[must_use]
    pub fn mapping_toml(&self) -> String {
        let mut out = String::from("[service]\n");
        if self.path != format!("/{}", self.service.replace('.', "/")) {
            let _ = writeln!(out, "path = {}", quote(&self.path));
        }
        if self.interface != self.service {
            let _ = writeln!(out, "interface = {}", quote(&self.interface));
        }
        out.push_str("timeout_ms = 5000\n");
        let mapped = self.methods.iter().filter(|method| method.role != Role::Trap);
        for method in mapped {
            self.method(&mut out, method);
        }
        self.transaction(&mut out);
        for property in &self.properties {
            self.property_key(&mut out, property);
        }
        for query in &self.queries {
            let _ = writeln!(out, "\n[state_mapping.{}]\npattern = \"query\"", query.key);
            let _ = writeln!(out, "read = {{ method = {} }}", quote(&self.methods[query.method].name));
            let _ = writeln!(out, "fields = {}", list(query.columns.iter().map(|column| quote(&column.name))));
            if let Some((column, accepted)) = &query.filter {
                let name = &query.columns[*column].name;
                let _ = writeln!(out, "filter = {{ {name} = {} }}", list(accepted.iter().map(literal)));
            }
            if let Some(column) = query.keyed_by {
                let _ = writeln!(out, "key = {}", quote(&query.columns[column].name));
            }
        }
        for set in &self.sets {
            self.set_key(&mut out, set);
        }
        if self.has_fingerprint {
            out.push_str("\n[fingerprint]\n");
            for method in self.methods.iter().filter(|method| method.role != Role::Trap) {
                let name = quote(&format!("{}.{}", method.interface, method.member));
                let _ = writeln!(out, "{name} = {}", quote(&method.input_sig()));
            }
        }
        out
    }

    /// Writes the plugin's folder into `parent`, under the plugin's name as a shipped mapping has it; its path.
    pub fn write_plugin(&self, parent: &Path) -> std::io::Result<PathBuf> {
        self.write_folder(parent.join(&self.plugin))
    }

    /// Writes the plugin's folder into the state root `root`, as if it were installed; its path.
    pub fn install_plugin(&self, root: &Path) -> std::io::Result<PathBuf> {
        self.write_folder(root.join(format!("@plugin-{}", self.plugin)))
    }

    fn write_folder(&self, folder: PathBuf) -> std::io::Result<PathBuf> {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("plugin.toml"), self.plugin_toml())?;
        std::fs::write(folder.join("semantic-mapping.toml"), self.mapping_toml())?;
        Ok(folder)
    }

    fn method(&self, out: &mut String, method: &Method) {
        let _ = writeln!(out, "\n[methods.{}]", method.name);
        if camel(&method.name) != method.member {
            let _ = writeln!(out, "member = {}", quote(&method.member));
        }
        if method.safe {
            out.push_str("safe = true\nside_effects = false\n");
            let _ = writeln!(out, "arg_types = {}", list(method.inputs.iter().map(|arg| quote(&arg.sig))));
        }
        fixed(out, method, None);
        if let Some((error, text)) = &method.already {
            let _ = writeln!(out, "already_ok = [{}]", quote(&format!("{error}: {text}")));
        }
        match &method.role {
            Role::Add(set) if self.sets[*set].kind == SetKind::AllAtOnce => {
                out.push_str("pre_check = \"check_service_running\"\n");
            }
            Role::Remove(set) if self.sets[*set].kind == SetKind::AllAtOnce => {
                out.push_str("pre_check = [\"check_service_running\", \"check_disk_space\"]\ndisk_free_bytes = 1\n");
            }
            _ => {}
        }
    }

    fn transaction(&self, out: &mut String) {
        let t = &self.transaction;
        for method in [&t.setup, &t.list, &t.resolve, &t.sizes, &t.install, &t.uninstall] {
            self.method(out, method);
            let _ = writeln!(out, "transaction = {}", quote(&t.name));
            if method.member == t.sizes.member {
                let _ = writeln!(out, "item = {}", signal(&t.size, &[]));
            }
        }
        let simulated = [(&t.simulations.0, &t.install, t.flag_at.0), (&t.simulations.1, &t.uninstall, t.flag_at.1)];
        for (name, method, flag_at) in simulated {
            let _ = writeln!(out, "\n[methods.{name}]\nmember = {}\nsafe = true", quote(&method.member));
            let _ = writeln!(out, "arg_types = {}", list(method.inputs.iter().map(|arg| quote(&arg.sig))));
            fixed(out, method, Some((flag_at, &t.flags.1)));
            let _ = writeln!(out, "transaction = {}", quote(&t.name));
        }
        let _ = writeln!(out, "\n[transactions.{}]", t.name);
        let _ = writeln!(out, "create = {}", quote(&self.methods[t.create].name));
        let _ = writeln!(out, "interface = {}", quote(&t.interface));
        let _ = writeln!(out, "setup = [{{ method = {} }}]", quote(&t.setup.name));
        let _ = writeln!(out, "item = {}", signal(&t.item, &[]));
        let text = |of: &Signal| format!("text = {}", quote(column(&of.columns, Use::Text)));
        let _ = writeln!(out, "error = {}", signal(&t.error, &[text(&t.error)]));
        let percent = format!("percent = {}", quote(column(&t.progress.columns, Use::Percent)));
        let _ = writeln!(out, "progress = {}", signal(&t.progress, &[text(&t.progress), percent]));
        let phase = format!("match = {{ {} = {} }}", column(&t.touched.columns, Use::State), literal(&t.phases.0));
        let _ = writeln!(out, "touched = {}", signal(&t.touched, &[phase]));
        let outcome = format!("ok = {{ {} = [{}] }}", column(&t.done.columns, Use::Outcome), literal(&t.outcomes.0));
        let _ = writeln!(out, "done = {}\ntimeout_ms = 4000", signal(&t.done, &[outcome]));
    }

    fn property_key(&self, out: &mut String, property: &Property) {
        let Some(key) = &property.key else { return };
        let mut place = format!("property = {}", quote(&property.name));
        if property.path != self.path {
            let _ = write!(place, ", path = {}, interface = {}", quote(&property.path), quote(&property.interface));
        }
        let _ = writeln!(out, "\n[state_mapping.{key}]\nread = {{ {place} }}");
        match property.merging {
            Merging::Whole => {}
            Merging::WholeTyped => {
                let mut types = Vec::new();
                variant_types(&property.initial, "", &mut types);
                let types = types.iter().map(|(key, sig)| format!("{} = {}", quote(key), quote(sig)));
                let _ = writeln!(out, "variant_types = {{ {} }}", types.collect::<Vec<_>>().join(", "));
            }
            Merging::Replace | Merging::Patch => out.push_str("diff_strategy = \"merge_strategy\"\n"),
        }
        let merge = if property.merging == Merging::Patch { ", merge = \"patch\"" } else { "" };
        match property.writing {
            Writing::Never => {}
            Writing::Property => {
                let _ = writeln!(out, "write = {{ {place}{merge} }}");
            }
            Writing::Method(index) => {
                let method = &self.methods[index];
                let args = match &method.role {
                    Role::Set(properties) if properties.len() > 1 => {
                        let words = properties.iter().map(|p| match self.properties[*p].key.as_deref() {
                            Some(other) if other != key => quote(&format!("${other}")),
                            _ => quote("$value"),
                        });
                        format!(", args = {}", list(words))
                    }
                    // One argument that is not fixed needs no words.
                    _ if self.seed.is_multiple_of(2) => String::new(),
                    _ => ", args = [\"$value\"]".to_owned(),
                };
                let _ = writeln!(out, "write = {{ method = {}{args}{merge} }}", quote(&method.name));
            }
            Writing::Switch(on, off) => {
                let call = |method: usize| format!("{{ method = {}, args = [] }}", quote(&self.methods[method].name));
                let _ = writeln!(out, "[state_mapping.{key}.write.when]\ntrue = {}\nfalse = {}", call(on), call(off));
            }
        }
    }

    fn set_key(&self, out: &mut String, set: &ItemSet) {
        let _ = writeln!(out, "\n[state_mapping.{}]", set.key);
        let _ = writeln!(out, "protected = {}", list(set.protected.iter().map(|item| quote(item))));
        let name = |index: usize| quote(&self.methods[index].name);
        let rows = |out: &mut String, columns: &[Column]| {
            let filter = (column(columns, Use::State), literal(&set.states.0));
            let _ = writeln!(out, "filter = {{ {} = [{}] }}", filter.0, filter.1);
            let _ = writeln!(out, "item = {}", part(columns, set));
        };
        match set.kind {
            SetKind::OneByOne => {
                let property = set.property.map_or("", |at| self.properties[at].name.as_str());
                let _ = writeln!(out, "pattern = \"set\"\nread = {{ property = {} }}", quote(property));
                for (word, method) in [("add", set.add), ("remove", set.remove)] {
                    let _ = writeln!(out, "{word} = {{ method = {}, args = [\"$item\"] }}", name(method));
                }
            }
            SetKind::AllAtOnce => {
                let _ = writeln!(out, "pattern = \"set\"\nread = {{ method = {} }}", name(set.list.unwrap_or(0)));
                let fields = set.columns.iter().map(|column| quote(&column.arg.name));
                let _ = writeln!(out, "fields = {}", list(fields));
                rows(out, &set.columns);
                let _ = writeln!(out, "validate = {{ pattern = '[a-z]+[0-9]*', max_length = 20, hint = 'a word' }}");
                for (word, method) in [("add", set.add), ("remove", set.remove)] {
                    let _ = writeln!(out, "{word} = {{ method = {}, args = [\"$items\"] }}", name(method));
                }
            }
            SetKind::Resolved => {
                let _ = writeln!(out, "pattern = \"set\"\nread = {{ method = {} }}", name(set.list.unwrap_or(0)));
                let find = name(set.find.unwrap_or(0));
                let _ = writeln!(
                    out,
                    "resolve = {{ method = {find}, fields = [\"name\", \"path\"], match = {{ field = \"name\" }}, result = \"path\" }}"
                );
                for (word, method) in [("add", set.add), ("remove", set.remove)] {
                    let _ = writeln!(out, "{word} = {{ method = {} }}", name(method));
                }
            }
            SetKind::Transaction => self.transaction_key(out, set, &rows),
        }
        if self.hooks.key == set.key {
            let _ = writeln!(out, "before = [{{ method = {} }}]", name(self.hooks.before));
            let _ = writeln!(out, "after = [{{ method = {} }}]", name(self.hooks.after));
        }
    }

    fn transaction_key(&self, out: &mut String, set: &ItemSet, rows: &dyn Fn(&mut String, &[Column])) {
        let t = &self.transaction;
        let _ = writeln!(out, "pattern = \"transaction\"\nread = {{ method = {} }}", quote(&t.list.name));
        rows(out, &t.item.columns);
        let id = quote(column(&t.item.columns, Use::Id));
        let part = part(&t.item.columns, set);
        let _ = writeln!(out, "resolve = {{ method = {}, match = {part}, result = {id} }}", quote(&t.resolve.name));
        let (details, download, installed) = t.size_columns();
        let details = details.map_or_else(String::new, |name| format!("details = {}, ", quote(&name)));
        let sizes = format!(
            "{{ method = {}, {details}download = {}, installed = {} }}",
            quote(&t.sizes.name),
            quote(&download),
            quote(&installed)
        );
        let filter = format!("{{ {} = {} }}", column(&t.item.columns, Use::State), literal(&set.states.0));
        for (word, method, simulation) in
            [("add", &t.install, &t.simulations.0), ("remove", &t.uninstall, &t.simulations.1)]
        {
            let _ = writeln!(
                out,
                "{word} = {{ method = {}, title = \"Will {word} {{items}}\", done = \"Did {word} {{item}}\", \
                 preview = {{ method = {}, filter = {filter}, id = {id}, item = {part}, sizes = {sizes}, \
                 text = \"{word} {{count}} thing{{s}}{{size}}?\" }} }}",
                quote(&method.name),
                quote(simulation)
            );
        }
    }
}

impl super::spec::Transaction {
    /// Where sizes are: the column of the dictionary if they are in one, then the column or key of the bytes to
    /// download, and of the bytes on disk.
    #[must_use]
    pub fn size_columns(&self) -> (Option<String>, String, String) {
        match self.size.columns.as_slice() {
            [only] => {
                let name = &only.arg.name;
                (Some(name.clone()), format!("{name}-down"), format!("{name}-disk"))
            }
            several => (None, column(several, Use::Download).to_owned(), column(several, Use::Installed).to_owned()),
        }
    }
}

/// The types of the variants in a dictionary, as a mapping has them.
pub fn variant_types(value: &Val, prefix: &str, into: &mut Vec<(String, String)>) {
    for item in value.items() {
        let Val::E(entry) = item else { continue };
        let key = format!("{prefix}{}", entry.0.text().unwrap_or_default());
        if let Val::V(inner) = &entry.1 {
            variant_types(inner, &format!("{key}."), into);
            into.push((key, inner.sig()));
        }
    }
}

/// The name of the column that is for `usage`.
#[must_use]
pub fn column(columns: &[Column], usage: Use) -> &str {
    columns.iter().find(|column| column.usage == usage).map_or("", |column| column.arg.name.as_str())
}

fn part(columns: &[Column], set: &ItemSet) -> String {
    format!("{{ field = {}, split = {}, part = 0 }}", quote(column(columns, Use::Id)), quote(&set.separator))
}

/// The constants of a method, one of them another than usual.
fn fixed(out: &mut String, method: &Method, instead: Option<(usize, &Val)>) {
    let entries = method.fixed.iter().map(|(at, value)| {
        let other = instead.filter(|(position, _)| position == at);
        format!("{at} = {}", literal(other.map_or(value, |(_, other)| other)))
    });
    let entries: Vec<String> = entries.collect();
    if !entries.is_empty() {
        let _ = writeln!(out, "fixed = {{ {} }}", entries.join(", "));
    }
}

fn signal(signal: &Signal, more: &[String]) -> String {
    let fields = list(signal.columns.iter().map(|column| quote(&column.arg.name)));
    let more: String = more.iter().map(|text| format!(", {text}")).collect();
    format!("{{ signal = {}, fields = {fields}{more} }}", quote(&signal.name))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// JSON strings without control characters are TOML strings.
fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

fn literal(value: &Val) -> String {
    value.json().to_string()
}
