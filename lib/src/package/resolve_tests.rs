//! Chains, diamonds, circles, conflicts.

use super::*;

/// `a 1.0.0: b ^1, c *; a 1.1.0 yanked; b 1.0.0` as what is offered, or there.
fn candidates(text: &str) -> BTreeMap<String, Vec<Candidate>> {
    let mut all: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (head, needs) = entry.split_once(':').unwrap_or((entry, ""));
        let words: Vec<&str> = head.split_whitespace().collect();
        let needs = needs.split(',').filter_map(|need| need.trim().split_once(' '));
        all.entry(words[0].into()).or_default().push(Candidate {
            version: words[1].parse().unwrap(),
            dependencies: needs.map(|(name, requirement)| (name.into(), requirement.into())).collect(),
            is_yanked: words.get(2) == Some(&"yanked"),
        });
    }
    all
}

fn world(offers: &str, present: &str) -> World {
    let present = candidates(present).into_iter().map(|(name, mut all)| (name, all.remove(0))).collect();
    World { offers: candidates(offers), present, ..World::default() }
}

fn wanted(text: &str) -> Vec<(String, VersionReq)> {
    let parse = |word: &str| {
        let (name, requirement) = word.split_once('@').unwrap_or((word, "*"));
        (name.to_owned(), VersionReq::parse(requirement).unwrap())
    };
    text.split(' ').map(parse).collect()
}

fn answer(asked: &str, world: &World) -> String {
    match resolve(&wanted(asked), world) {
        Ok(chosen) => {
            let new = chosen.iter().filter(|c| c.is_new).map(|c| format!("{} {}", c.name, c.version));
            new.collect::<Vec<_>>().join(", ")
        }
        Err(error) => error.message,
    }
}

#[test]
fn what_is_needed_comes_first() {
    let offers = "a 1.0.0: b ^1; a 0.9.0; b 1.0.0; b 1.2.0: c *; b 2.0.0; c 0.1.0; d 1.0.0 yanked; d 0.5.0";
    let empty = world(offers, "");
    assert_eq!(answer("a", &empty), "c 0.1.0, b 1.2.0, a 1.0.0");
    assert_eq!(answer("a@<1", &empty), "a 0.9.0");
    assert_eq!(answer("b", &empty), "b 2.0.0");
    assert_eq!(answer("d", &empty), "d 0.5.0", "what was taken back is not taken");
    assert_eq!(answer("a b", &empty), "c 0.1.0, b 1.2.0, a 1.0.0", "one version that is good for both");
}

#[test]
fn a_diamond_has_one_tip() {
    let offers = "a 1.0.0: l *, r *; l 1.0.0: t ^1; l 2.0.0: t ^2; r 1.0.0: t ^1; t 1.0.0; t 1.5.0; t 2.0.0";
    assert_eq!(answer("a", &world(offers, "")), "t 1.5.0, l 1.0.0, r 1.0.0, a 1.0.0", "an older l, so that r fits");
    let stuck = offers.replace("l 1.0.0: t ^1; ", "");
    let said = answer("a", &world(&stuck, ""));
    assert_eq!(said, "l 2.0.0 needs t ^2, and r 1.0.0 needs t ^1: no version fits; there are 1.0.0, 1.5.0, 2.0.0");
}

#[test]
fn what_is_there_stays_and_is_not_broken() {
    let offers = "a 1.0.0: b ^1; b 1.0.0; b 1.9.0; b 2.0.0; c 1.0.0: b ^2";
    assert_eq!(answer("a", &world(offers, "b 1.0.0")), "a 1.0.0");
    assert_eq!(answer("a", &world(offers, "b 0.9.0")), "b 1.9.0, a 1.0.0");
    assert_eq!(answer("a", &world(offers, "a 1.0.0: b ^1; b 1.0.0")), "");
    let said = answer("c", &world(offers, "a 1.0.0: b ^1; b 1.0.0"));
    assert_eq!(
        said,
        "the installed a 1.0.0 needs b ^1, and c 1.0.0 needs b ^2: no version fits; there are 1.0.0, 1.9.0, 2.0.0"
    );
    let upgraded = |names: &str, present: &str| World {
        upgraded: names.split(' ').map(str::to_owned).collect(),
        ..world(offers, present)
    };
    assert_eq!(answer("b", &upgraded("b", "a 1.0.0: b ^1; b 1.0.0")), "b 1.9.0", "as new as the other allows");
    assert_eq!(answer("b", &upgraded("b", "b 3.0.0")), "", "never older by itself");
    assert_eq!(answer("b@=1.0.0", &world(offers, "b 2.0.0")), "b 1.0.0", "older when it is asked for");
}

#[test]
fn what_cannot_be() {
    let circle = world("a 1.0.0: b *; b 1.0.0: c *; c 1.0.0: a *", "");
    assert_eq!(answer("b", &circle), "these need each other in a circle: a needs b needs c needs a");
    let itself = world("a 1.0.0: a *", "");
    assert!(answer("a", &itself).contains("a needs a"));
    assert_eq!(answer("x", &world("", "")), "what is asked for needs x *, which no registry has");
    assert_eq!(answer("a", &world("a 1.0.0: x ^3", "")), "a 1.0.0 needs x ^3, which no registry has");
    let taken_back = answer("a", &world("a 1.0.0 yanked", ""));
    assert!(taken_back.contains("taken back were 1.0.0"), "{taken_back}");
    assert_eq!(
        answer("a@^3", &world("a 1.0.0; a 2.0.0", "")),
        "what is asked for needs a ^3: no version fits; there are 1.0.0, 2.0.0"
    );
    assert!(answer("a", &world("a 1.0.0: op-dbus >=99", "")).contains("needs op-dbus >=99, and this is"));
    let mut on_a_bus = world("a 1.0.0: org.example.Lamp *; a 0.9.0", "");
    assert_eq!(answer("a", &on_a_bus), "a 1.0.0", "no bus was asked");
    on_a_bus.services = Some(BTreeSet::new());
    assert_eq!(answer("a", &on_a_bus), "a 0.9.0");
    assert!(answer("a@1", &on_a_bus).contains("needs the service org.example.Lamp"));
}

#[test]
fn a_lock_file_decides() {
    let mut locked = world("a 1.0.0: b *; a 2.0.0: b *; b 1.0.0 yanked; b 2.0.0", "b 2.0.0");
    let versions = [("a", "1.0.0"), ("b", "1.0.0")];
    locked.locked = Some(versions.map(|(n, v)| (n.to_owned(), v.parse().unwrap())).into());
    assert_eq!(answer("a", &locked), "b 1.0.0, a 1.0.0", "what was taken back, too, and instead of what is there");
    locked.locked = Some([("b".to_owned(), "1.0.0".parse().unwrap())].into());
    assert!(answer("a", &locked).contains("which no registry has") || answer("a", &locked).contains("no version fits"));
}

#[test]
fn much_entangled_ends() {
    // Every version of each needs another version of all the others.
    let mut offers = String::new();
    for name in 'a'..='l' {
        for version in 1..8 {
            let needs: Vec<String> = ('a'..='l')
                .filter(|other| *other != name)
                .map(|other| format!("{other} ={}.0.0", version % 7 + 1))
                .collect();
            offers.push_str(&format!("{name} {version}.0.0: {};", needs.join(", ")));
        }
    }
    let started = std::time::Instant::now();
    assert!(resolve(&wanted("a"), &world(&offers, "")).is_err());
    assert!(started.elapsed().as_secs() < 20);
}
