//! Lists of processors and nodes as the kernel writes them: `0-3,8`.

/// The numbers of a list, in order. What is not understood is left out: the kernel writes nothing else.
pub(super) fn parse(text: &str) -> Vec<u32> {
    const MOST: u32 = 65_536;
    let mut numbers: Vec<u32> = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            numbers.extend(first..=last.min(first.saturating_add(MOST)));
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The list of these numbers.
pub(super) fn write(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let text = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (text, numbers) in [
            ("0", vec![0]),
            ("0-3,8", vec![0, 1, 2, 3, 8]),
            ("", vec![]),
            ("1,0\n", vec![0, 1]),
            ("0-1,1-2", vec![0, 1, 2]),
            ("x,2,3-y,5-4", vec![2]),
        ] {
            assert_eq!(parse(text), numbers, "{text:?}");
            assert_eq!(parse(&write(&numbers)), numbers);
        }
        assert_eq!(write(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
    }
}
