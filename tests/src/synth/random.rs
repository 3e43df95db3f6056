//! Everything by chance, and all of it from one seed: numbers, names, types, values.

use super::value::{Val, split};
use std::collections::BTreeSet;

/// SplitMix64: small, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The numbers of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end.max(1) as u64).unwrap_or(0)
    }

    /// A number from `range`.
    pub fn within(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Puts `list` in another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }
}

/// Names nobody has seen before, none twice.
#[derive(Debug, Clone)]
pub struct Names {
    rng: Rng,
    used: BTreeSet<String>,
}

impl Names {
    /// The names of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Words with a meaning in mappings, bus names or Rust's own tests of them.
        let used = ["value", "item", "items", "id", "ids", "key", "absent", "observed"];
        Self { rng: Rng::new(seed ^ 0x006e_616d_6573), used: used.map(str::to_owned).into() }
    }

    /// A lower-case word of two or three syllables.
    pub fn word(&mut self) -> String {
        loop {
            let syllables = self.rng.within(2..=3);
            let mut word = String::new();
            for _ in 0..syllables {
                word.push(*self.rng.pick(&['b', 'd', 'f', 'g', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z']));
                word.push(*self.rng.pick(&['a', 'e', 'i', 'o', 'u']));
            }
            if self.used.insert(word.clone()) {
                return word;
            }
        }
    }

    /// Two words, as in `tuvo_kasu`.
    pub fn snake(&mut self) -> String {
        format!("{}_{}", self.word(), self.word())
    }

    /// Two words, as in `TuvoKasu`.
    pub fn camel(&mut self) -> String {
        camel(&self.snake())
    }
}

/// `TuvoKasu` for `tuvo_kasu`.
#[must_use]
pub fn camel(snake: &str) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    snake.split('_').map(capital).collect()
}

/// `tuvo_kasu` for `TuvoKasu`.
#[must_use]
pub fn snake(camel: &str) -> String {
    let mut out = String::new();
    for (i, c) in camel.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// A complete type without variants, containers at most `depth` deep.
pub fn type_signature(rng: &mut Rng, depth: usize) -> String {
    const BASIC: [&str; 12] = ["y", "b", "n", "q", "i", "u", "x", "t", "d", "s", "o", "g"];
    const KEYS: [&str; 10] = ["s", "s", "o", "y", "b", "n", "q", "u", "x", "t"];
    if depth == 0 || rng.one_in(4) {
        return (*rng.pick(&BASIC)).to_owned();
    }
    match rng.below(3) {
        0 => format!("a{}", type_signature(rng, depth - 1)),
        1 => format!("a{{{}{}}}", rng.pick(&KEYS), type_signature(rng, depth - 1)),
        _ => {
            let count = rng.within(1..=4);
            format!("({})", (0..count).map(|_| type_signature(rng, depth - 1)).collect::<String>())
        }
    }
}

/// A value of the complete type `signature`; with an eye for the edges.
pub fn value(rng: &mut Rng, signature: &str) -> Val {
    let any = rng.number();
    let bytes = any.to_le_bytes();
    let edge = rng.one_in(3);
    match signature.as_bytes()[0] {
        b'y' => Val::Y(if edge { u8::MAX } else { bytes[0] }),
        b'b' => Val::B(any & 1 == 1),
        b'n' => Val::N(if edge { i16::MIN } else { i16::from_le_bytes([bytes[0], bytes[1]]) }),
        b'q' => Val::Q(if edge { u16::MAX } else { u16::from_le_bytes([bytes[0], bytes[1]]) }),
        b'i' => Val::I(if edge { i32::MIN } else { i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) }),
        b'u' => Val::U(if edge { u32::MAX } else { u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) }),
        b'x' => Val::X(if edge {
            *rng.pick(&[i64::MIN, i64::MAX, 1 << 53, -(1 << 53), (1 << 53) + 1])
        } else {
            i64::from_le_bytes(bytes)
        }),
        b't' => Val::T(if edge { *rng.pick(&[u64::MAX, 1 << 53, (1 << 53) + 1, 0]) } else { any }),
        b'd' => Val::D(double(rng, edge)),
        b's' => Val::S(text(rng)),
        b'o' => Val::O(path(rng)),
        b'g' => Val::G(if edge { String::new() } else { type_signature(rng, 2) }),
        b'v' => {
            let inner = type_signature(rng, 1);
            Val::V(Box::new(value(rng, &inner)))
        }
        b'a' if signature == "ay" => bytes_value(rng),
        b'a' if signature[1..].starts_with('{') => dictionary(rng, &signature[1..]),
        b'a' => {
            let count = rng.below(4);
            Val::A(signature[1..].into(), (0..count).map(|_| value(rng, &signature[1..])).collect())
        }
        _ => {
            let fields = split(&signature[1..signature.len() - 1]).unwrap_or_default();
            Val::R(fields.into_iter().map(|field| value(rng, field)).collect())
        }
    }
}

/// A value of the type that differs from `from`; the same when there is no other.
pub fn other_value(rng: &mut Rng, from: &Val) -> Val {
    let signature = from.sig();
    (0..64).map(|_| value(rng, &signature)).find(|new| new.json() != from.json()).unwrap_or_else(|| from.clone())
}

fn double(rng: &mut Rng, edge: bool) -> f64 {
    const EDGES: [f64; 8] =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1, 1e308, -5e-324, 3.0, 9_007_199_254_740_993.0];
    if edge {
        return *rng.pick(&EDGES);
    }
    let number = rng.below(2_000_000);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let number = number as f64;
    number / 128.0 - 4096.0
}

/// A text that tests quoting: spaces, quotes, places of templates, other scripts.
pub fn text(rng: &mut Rng) -> String {
    const ODD: [&str; 12] = [
        "",
        "$value",
        "$$",
        "a \"quoted\" 'text'",
        "back\\slash",
        "Grüße",
        "名前",
        "🚌",
        "true",
        "null",
        "{\"$variant\":1}",
        "tab\tnew\nline",
    ];
    if rng.one_in(3) { (*rng.pick(&ODD)).to_owned() } else { format!("text {:x}", rng.number() >> 40) }
}

fn path(rng: &mut Rng) -> String {
    match rng.below(4) {
        0 => "/".into(),
        n => (0..n).map(|_| format!("/p{:x}_{}", rng.number() >> 48, rng.below(9))).collect(),
    }
}

fn bytes_value(rng: &mut Rng) -> Val {
    const KINDS: [&[u8]; 5] = [b"", b"plain text", b"nul\0inside", &[0xff, 0xfe, 0x00], "Grüße".as_bytes()];
    let bytes = match rng.below(KINDS.len() + 1) {
        kind if kind < KINDS.len() => KINDS[kind].to_vec(),
        _ => rng.number().to_le_bytes().to_vec(),
    };
    Val::A("y".into(), bytes.into_iter().map(Val::Y).collect())
}

fn dictionary(rng: &mut Rng, element: &str) -> Val {
    let types = split(&element[1..element.len() - 1]).unwrap_or_default();
    let count = rng.below(4);
    let mut entries: Vec<Val> = Vec::new();
    for _ in 0..count {
        let key = if types[0] == "s" { Val::S(dictionary_key(rng)) } else { value(rng, types[0]) };
        let known = entries.iter().any(|entry| matches!(entry, Val::E(pair) if pair.0.json() == key.json()));
        if !known {
            entries.push(Val::entry(key, value(rng, types[1])));
        }
    }
    Val::A(element.into(), entries)
}

fn dictionary_key(rng: &mut Rng) -> String {
    const ODD: [&str; 6] = ["$dollar", "$secret", "", "with.dot", "with space", "ключ"];
    if rng.one_in(4) { (*rng.pick(&ODD)).to_owned() } else { format!("k{:x}", rng.number() >> 52) }
}
