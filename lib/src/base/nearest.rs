//! The word that was probably meant.

/// The candidate that `given` was most probably meant to be.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bare = given.trim_start_matches('-').chars().count();
    candidates
        .into_iter()
        .map(|candidate| {
            let is_start = bare >= 3 && candidate.starts_with(given);
            (if is_start { 1 } else { distance(given, candidate) }, candidate)
        })
        .filter(|&(distance, _)| distance <= 2 && distance * 2 <= bare)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// The `count` candidates closest to `given`, the closest first: those that hold it, then by letters that differ.
pub fn closest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let given = given.to_lowercase();
    let rank = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let holds = |long: &str, short: &str| short.chars().count() >= 3 && long.contains(short);
        let is_part = holds(&candidate, &given) || holds(&given, &candidate);
        (!is_part, distance(&given, &candidate))
    };
    let mut ranked: Vec<_> = candidates.into_iter().map(|candidate| (rank(candidate), candidate)).collect();
    ranked.sort();
    ranked.into_iter().take(count).map(|(_, candidate)| candidate).collect()
}

/// How many letters must be inserted, deleted or replaced to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let options = ["--dry-run", "--diff", "--plugin", "--yes"];
        for (given, expected) in [
            ("--dryrun", Some("--dry-run")),
            ("--dry", Some("--dry-run")),
            ("--plugins", Some("--plugin")),
            ("--plguin", Some("--plugin")),
            ("--ye", Some("--yes")),
            ("--no", None),
            ("--frobnicate", None),
            ("--", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, options), expected, "{given}");
        }
    }

    #[test]
    fn the_closest_come_first() {
        let keys = ["chassis", "location", "pretty_hostname", "static_hostname"];
        assert_eq!(closest("statichostname", keys, 2), ["static_hostname", "pretty_hostname"]);
        assert_eq!(closest("Hostname", keys, 2), ["pretty_hostname", "static_hostname"]);
        assert_eq!(closest("", keys, 1), ["chassis"]);
        assert_eq!(closest("x", [], 3), Vec::<&str>::new());
    }
}
