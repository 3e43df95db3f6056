//! The questions of `op-install map`: what only a mapping's author knows. Every one has a default, and no answer takes it.

use super::confirm::Terminal;
use crate::base::Result;
use crate::plugin::author::Draft;
use crate::plugin::author::draft::{Kind, Sureness};

/// Asks about a draft, and changes it by the answers.
pub fn ask(draft: &mut Draft, terminal: &mut Terminal) -> Result<()> {
    let intro = format!(
        "{} as a plugin's state: which keys to take, and what only you can know. No answer takes the default.",
        draft.service
    );
    keys(draft, terminal, &intro)?;
    safe_methods(draft, terminal)?;
    names(draft, terminal)
}

/// Which keys to take: those that can be written together, guesses one by one, those that can only be read together.
fn keys(draft: &mut Draft, terminal: &mut Terminal, intro: &str) -> Result<()> {
    let is_one = |kind: Kind, sureness: Sureness| {
        matches!(kind, Kind::Writable | Kind::Collection) && sureness != Sureness::Guess
    };
    let lines: Vec<String> = draft
        .entries
        .iter()
        .filter(|entry| is_one(entry.kind, entry.sureness))
        .map(|entry| {
            format!(
                "  {:<28} {:<7} {}",
                entry.key,
                entry.sureness.as_str(),
                entry.why.first().map_or("", String::as_str)
            )
        })
        .collect();
    if !lines.is_empty() {
        let text = format!("{intro}\n\n{}", lines.join("\n"));
        let answer = terminal.ask_or(&text, "Take these keys: (y)es, (n)o, (c)hoose each?", "y")?;
        let choice = answer.chars().next().map(|c| c.to_ascii_lowercase());
        for entry in draft.entries.iter_mut().filter(|entry| is_one(entry.kind, entry.sureness)) {
            entry.is_taken = match choice {
                Some('n') => false,
                Some('c') => is_yes(&terminal.ask_or("", &format!("Take {}?", entry.key), "y")?),
                _ => true,
            };
        }
    }
    for entry in &mut draft.entries {
        if entry.sureness == Sureness::Guess && matches!(entry.kind, Kind::Writable | Kind::Collection) {
            let text = entry.why.iter().map(|why| format!("  {why}")).collect::<Vec<_>>().join("\n");
            entry.is_taken = is_yes(&terminal.ask_or(&text, &format!("Take {}, which is a guess?", entry.key), "n")?);
        }
    }
    for entry in draft.entries.iter_mut().filter(|entry| entry.kind == Kind::Query) {
        let text = entry.why.iter().map(|why| format!("  {why}")).collect::<Vec<_>>().join("\n");
        entry.is_taken =
            is_yes(&terminal.ask_or(&text, &format!("Take {}, which can only be read?", entry.key), "n")?);
    }
    let read_only: Vec<String> =
        draft.entries.iter().filter(|entry| entry.kind == Kind::ReadOnly).map(|entry| entry.key.clone()).collect();
    if !read_only.is_empty() {
        let default = if draft.entries.iter().any(|e| e.kind == Kind::ReadOnly && e.is_taken) { "y" } else { "n" };
        let text = format!("These can only be read: {}", read_only.join(", "));
        let takes = is_yes(&terminal.ask_or(&text, "Take them too, to be shown and never compared?", default)?);
        draft.entries.iter_mut().filter(|entry| entry.kind == Kind::ReadOnly).for_each(|entry| entry.is_taken = takes);
    }
    Ok(())
}

/// The author's word for methods that seem to read. Never assumed.
fn safe_methods(draft: &mut Draft, terminal: &mut Terminal) -> Result<()> {
    let taken: Vec<String> =
        draft.entries.iter().filter(|entry| entry.is_taken).map(|entry| entry.key.clone()).collect();
    for (name, signature, keys) in draft.unasked() {
        let keys: Vec<String> = keys.into_iter().filter(|key| taken.contains(key)).collect();
        if keys.is_empty() {
            continue;
        }
        let text = format!(
            "{signature}\n  It is needed to read {}. A safe method is called by queries and dry runs, with nobody asked.",
            keys.join(", ")
        );
        if is_yes(&terminal.ask_or(&text, "Do you know that it changes nothing at all?", "n")?) {
            draft.agree(&name);
        }
    }
    Ok(())
}

/// What names the items of each collection.
fn names(draft: &mut Draft, terminal: &mut Terminal) -> Result<()> {
    let open: Vec<(String, Vec<String>)> = draft
        .entries
        .iter()
        .filter(|entry| entry.is_active())
        .filter_map(|entry| Some((entry.key.clone(), entry.choice.as_ref()?.candidates.clone())))
        .collect();
    for (key, candidates) in open {
        let lines: Vec<String> =
            candidates.iter().enumerate().map(|(i, name)| format!("  {}) {name}", i + 1)).collect();
        let text = format!("What names an item of {key}?\n{}", lines.join("\n"));
        let answer = terminal.ask_or(&text, "A number, or a property or column", "1")?;
        let by_number = answer.parse::<usize>().ok().and_then(|number| candidates.get(number.checked_sub(1)?));
        let chosen = by_number.cloned().unwrap_or_else(|| format!("{answer:?}"));
        draft.choose(&key, &chosen);
    }
    Ok(())
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.to_lowercase().as_str(), "y" | "yes")
}
