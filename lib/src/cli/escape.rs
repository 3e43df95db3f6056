//! Text from services made harmless: a service must never drive the terminal of the person reading it.

use std::borrow::Cow;

/// `text` with its lines kept and every other character that could drive a terminal escaped, as in `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_driving(c) && c != '\n' && c != '\t')
}

/// `text` on one line: line ends and tabs are escaped too, so that a value can forge no line of ours.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_driving)
}

/// JSON text with what JSON leaves raw but a terminal obeys (C1 controls, bidirectional overrides) as `\uXXXX`.
pub(super) fn json_for_terminal(json: &str) -> Cow<'_, str> {
    let drives = |c: char| is_driving(c) && c != '\n';
    if !json.contains(drives) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if drives(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Control characters (C0, DEL, C1), line and paragraph separators, and what reorders or hides text.
fn is_driving(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn escaped(text: &str, escape: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&escape) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if escape(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_drives_a_terminal_is_escaped() {
        assert_eq!(one_line("a\x1b[2Jb\nc\td"), "a\\u{1b}[2Jb\\nc\\td");
        assert_eq!(printable("a\x1b[2J\n\tb\r"), "a\\u{1b}[2J\n\tb\\r");
        assert_eq!(one_line("\u{9b}\u{7f}\u{202e}"), "\\u{9b}\\u{7f}\\u{202e}");
        assert_eq!(one_line("Grüße ✓ 日本"), "Grüße ✓ 日本");
        assert_eq!(json_for_terminal("{\n  \"a\": \"\u{9b}\u{202e}é\"\n}\n"), "{\n  \"a\": \"\\u009b\\u202eé\"\n}\n");
    }

    proptest! {
        #[test]
        fn nothing_driving_is_left(text in any::<String>()) {
            prop_assert!(!one_line(&text).contains(is_driving));
            prop_assert!(!printable(&text).contains(|c| is_driving(c) && c != '\n' && c != '\t'));
            let json = serde_json::to_string(&text).unwrap();
            let back: String = serde_json::from_str(&json_for_terminal(&json)).unwrap();
            prop_assert_eq!(back, text);
        }
    }
}
