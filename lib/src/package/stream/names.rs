//! Names that mean something, and characters that no name needs.

/// `o257-8-0`: the name that the kernel gives until it knows the true one.
pub(super) fn is_provisional(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some(numbers) = name.strip_prefix('o') else { return false };
    let mut parts = 0;
    numbers.split('-').all(|part| {
        parts += 1;
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
    }) && parts == 3
}

/// Characters that do not show, turn the text around, or end it.
pub(super) fn is_unwelcome(c: char) -> bool {
    c == '/'
        || c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
