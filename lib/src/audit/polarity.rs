//! Whether two texts say the opposite of each other, which vectors do not tell: "started" lies closer to "stopped" than
//! to "was launched". Words have a side on some axis (start or stop, allow or deny); what negates a word turns its side.
//!
//! Only English is known. A text without any such word has no side, and nothing is its opposite.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// How two texts are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// One says the opposite of the other.
    Opposite,
    /// Neither.
    Neutral,
    /// They are on the same side of something.
    Same,
}

/// The axes: on each line the words of one side, and those of the other. A word is the beginning of those that are meant;
/// with a `.` it is all of it. Two words with `_` between follow each other.
const AXES: &[(&str, &str)] = &[
    // How it ended.
    (
        "succe complet finish. finished finishes done. ok. okay passed. passes. pass. passing. normally. work. worked. works. working. fine. \
         effective",
        "fail error unsuccess abort crash broke. broken panic timeout timed_out time_out undone. fault. faults. \
         unable cannot could_not can_not hung. hang. hangs. stuck. trouble problem impossible went_wrong gave_up give_up rejected. segfault",
    ),
    (
        "start restart launch boot booted boots began. begun. begin. begins. running. runs. ran. run. resum activat \
         active. alive. came_back came_up come_up comes_up brought_up spawn unpaus reactivat is_up are_up was_up woke. wake.",
        "stop halt shut_down shutdown shuts_down shutting_down kill exit exited terminat deactivat inactive. dead. \
         died. dies. suspend paus ended. ends. quit. went_down goes_down gone_down is_down are_down was_down \
         brought_down powered_off froze. idle. asleep. sleep.",
    ),
    (
        "enabl turned_on turn_on turns_on switched_on switch_on set_on is_on are_on unmask powered_on",
        "disabl turned_off turn_off turns_off switched_off switch_off off. mask. masked. powered_off deactivat",
    ),
    (
        "connect reconnect attach plugged. online. reachable. associat joined. join. joins. carrier. link_up is_up came_up \
         comes_up come_up established. respond answer reached.",
        "disconnect detach unplug offline. unreachable. disassociat left. leaves. leave. link_down is_down went_down \
         goes_down unresponsive. lost_contact lost_connection lost_carrier hung_up dropped_off carrier_lost \
         connection_lost unanswered.",
    ),
    ("mount remount", "unmount umount eject"),
    (
        "add. added. adds. adding. addition create. created. creates. creating. creation. new. insert register made. \
         append defin introduc",
        "remov delet drop. dropped. drops. destroy purg eras unregister deregister wiped. wipe. discard undefin. \
         undefined. withdr",
    ),
    ("install reinstall", "uninstall remov purg"),
    (
        "allow accept grant permit permission_given authoriz authoris authenticat approv admitted. admit. trusted. trust. \
         welcom whitelist unblock",
        "deny denied. denies. denial reject refus block. blocked. blocks. blocking. forbid forbad revok unauthoriz \
         unauthenticat disapprov bann untrusted. distrust turned_away blacklist prohibit disallow prevent",
    ),
    ("open. opened. opens. opening. reopen", "clos shut."),
    ("unlock", "lock. locked. locks. locking. lockout"),
    ("load. loaded. loads. loading.", "unload"),
    (
        "increas grew. grow. grows. growing. grown. rais rose. rise. rises. rising. gain higher. more. expand extend \
         extended enlarg climb faster. doubl scaled_up longer. above. exceed",
        "decreas shrink shrank. shrunk. lower reduc fell. fall. falls. falling. drop. dropped. drops. slower. less. \
         fewer. halv scaled_down shorter. below. cut.",
    ),
    (
        "full. exhaust ran_out run_out runs_out no_space no_room used_up",
        "free. freed. empty. emptied spare. plenty. room. space_left available. clear.",
    ),
    ("valid. validat renew current. fresh. in_force", "invalid expir stale. outdated out_of_date lapsed."),
    (
        "healthy. clean. intact. optimal. consistent. good. repaired. repair. fixed. recover heal restored. sound. \
         uncorrupt undamag",
        "unhealthy. degrad faulty. dirty. corrupt inconsistent. damag bad. worn. broken. sick. lost_redundancy reduced_redundancy",
    ),
    ("encrypt. encrypted. encrypts. encryption. cipher.", "decrypt unencrypt plaintext. cleartext."),
    ("upgrad updat newer.", "downgrad older."),
    (
        "logged_in logs_in log_in login. logins. signed_in sign_in session_opened",
        "logged_out logs_out log_out logout. signed_out sign_out session_closed",
    ),
    ("synchron in_sync synced. sync.", "unsynchron out_of_sync drift diverg desync"),
    (
        "found. find. finds. present. exist detected. detect. appear came_back returned. discovered. located. visible.",
        "missing. absent. gone. lost. lose. disappear vanish invisible. undetected. unknown. nowhere.",
    ),
    ("thaw unfreez unfroze", "freez froze. frozen."),
    ("promot elected. became_primary took_over", "demot step_down stepped_down became_secondary lost_leadership"),
    (
        "commit applied. apply. applies. kept. confirm took_effect",
        "rolled_back roll_back rolls_back revert undone. undo. discard cancel took_back taken_back unconfirm",
    ),
    ("hot. overheat too_warm too_hot too_high", "cool cold. normal_temperature"),
    ("writable. read_write", "read_only readonly. write_protected"),
    ("quiet. calm.", "busy. overload stuck. hang. hangs. hung. deadlock"),
    ("verif match matches matched genuine.", "mismatch tamper forged. differ unverif"),
    ("public. exposed. expos", "private. hidden. hide."),
    ("early. on_time in_time punctual", "late. overdue too_late delay"),
    ("backed_up", "not_backed_up"),
    ("charg. charging. charged. plugged_in on_mains", "discharg on_battery unplug"),
    ("published. publish announc", "unpublish retract withdr yank"),
    ("subscrib", "unsubscrib"),
    ("bound. bind. binds. claimed.", "unbound. unbind released."),
    ("import", "export"),
    ("upload", "download"),
];

/// The axis of how something ended.
const ENDED: usize = 0;

/// Words that turn what follows.
const NEGATORS: &[&str] = &[
    "not",
    "no",
    "never",
    "cannot",
    "without",
    "nothing",
    "none",
    "neither",
    "nor",
    "zero",
    "0",
    "unable",
    "fail",
    "failed",
    "fails",
    "failing",
    "failure",
    "refused",
    "refuses",
    "refusing",
    "stopped",
    "ceased",
    "isn",
    "wasn",
    "aren",
    "weren",
    "doesn",
    "didn",
    "don",
    "won",
    "wouldn",
    "couldn",
    "can",
    "hasn",
    "haven",
    "hadn",
    "nobody",
    "impossible",
    "unsuccessfully",
    "prevented",
    "hardly",
    "instead",
];
/// How many words further a negation reaches.
const REACH: usize = 4;
/// Words after which another thought begins.
const TURNS: &[&str] = &["but", "and", "then", "so", "because", "although", "while", "that", "which", "since"];
/// What comes after these words is how it was before.
const BEFORE: &[&str] = &["after", "despite", "following", "instead", "from"];

/// One word of an axis, or some that follow each other, as it is written above.
#[derive(Debug)]
struct Pattern {
    axis: usize,
    side: i32,
    words: Vec<&'static str>,
    is_whole: bool,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let sides = AXES.iter().enumerate().flat_map(|(axis, (one, other))| [(axis, 1, one), (axis, -1, other)]);
    let pattern = |axis, side, text: &'static str| {
        let words = text.trim_end_matches('.').split('_').collect();
        Pattern { axis, side, words, is_whole: text.ends_with('.') || text.contains('_') }
    };
    sides.flat_map(|(axis, side, text)| text.split_whitespace().map(move |text| pattern(axis, side, text))).collect()
});

impl Pattern {
    fn is_at(&self, words: &[&str]) -> bool {
        let same =
            |pattern: &&str, word: &&str| if self.is_whole { word == pattern } else { word.starts_with(pattern) };
        words.len() >= self.words.len() && self.words.iter().zip(words).all(|(pattern, word)| same(pattern, word))
    }
}

/// The sides that a text is on.
#[derive(Debug, Default)]
struct Sides {
    /// By axis, 1 or -1, or 0 when it is on both.
    of_axis: BTreeMap<usize, i32>,
    /// What it says without a negation, but for how it ended.
    plain: BTreeSet<(usize, i32)>,
    /// Whether it says that something failed, or was not so.
    is_failed: bool,
}

fn sides(text: &str) -> Sides {
    let lowered = text.to_lowercase().replace('\u{2019}', "'");
    let mut sides = Sides::default();
    for clause in lowered.split([';', '.', ',', ':', '!', '?', '(', ')']) {
        let words: Vec<&str> =
            clause.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
        let end = words.iter().position(|word| BEFORE.contains(word)).filter(|at| *at > 0).unwrap_or(words.len());
        // Up to where a longer match reaches: "out of sync" is not also "sync".
        let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
        for at in 0..end {
            for (axis, side, count) in at_word(&words[at..end]) {
                if taken.get(&axis).is_some_and(|taken| at < *taken) {
                    continue;
                }
                taken.insert(axis, at + count);
                let is_turned = is_turned(&words[..at], axis);
                if !is_turned && axis != ENDED {
                    sides.plain.insert((axis, side));
                }
                sides.is_failed |= is_turned && axis != ENDED && side == 1;
                let side = if is_turned { -side } else { side };
                let known = sides.of_axis.entry(axis).or_insert(side);
                if *known != side {
                    *known = 0;
                }
            }
        }
    }
    sides.is_failed |= sides.of_axis.get(&ENDED) == Some(&-1);
    sides
}

/// The sides of the word, or of the words, that a text goes on with, and how many words they are.
fn at_word(words: &[&str]) -> Vec<(usize, i32, usize)> {
    let length = |pattern: &Pattern| pattern.words.iter().map(|word| word.len()).sum::<usize>();
    let found: Vec<&Pattern> = PATTERNS.iter().filter(|pattern| pattern.is_at(words)).collect();
    // "unmount" is no "mount": of one axis the longer word counts.
    let is_best = |one: &&&Pattern| !found.iter().any(|other| other.axis == one.axis && length(other) > length(one));
    found.iter().filter(is_best).map(|pattern| (pattern.axis, pattern.side, pattern.words.len())).collect()
}

/// Whether what stands before a word turns it: an odd number of negations in its reach.
fn is_turned(before: &[&str], axis: usize) -> bool {
    let mut count = 0;
    for (distance, word) in before.iter().rev().enumerate() {
        if distance >= REACH || TURNS.contains(word) {
            break;
        }
        let next = distance.checked_sub(1).and_then(|at| before.len().checked_sub(1 + at)).map(|at| before[at]);
        let negates = match *word {
            // "can" alone does not, "can't" does: its end is a word of its own.
            "can" => next == Some("t"),
            // "failed to start" turns the start; "failed login" says how it ended, and that of a login.
            "fail" | "failed" | "fails" | "failing" | "failure" | "refused" | "refuses" | "refusing" | "stopped"
            | "ceased" | "unable" => axis != ENDED && (next == Some("to") || distance == 0),
            word => NEGATORS.contains(&word),
        };
        count += usize::from(negates);
    }
    count % 2 == 1
}

/// Whether a text says that something went well, or that it did not; neither, mostly.
#[must_use]
pub fn went_well(text: &str) -> Option<bool> {
    let sides = sides(text);
    match sides.of_axis.get(&ENDED) {
        Some(1) => Some(true),
        Some(-1) => Some(false),
        // "what could not be started"
        _ if sides.is_failed => Some(false),
        _ => None,
    }
}

/// How `text` is to what `query` asks for.
#[must_use]
pub fn relation(query: &str, text: &str) -> Relation {
    let (wanted, found) = (sides(query), sides(text));
    let products: Vec<i32> =
        wanted.of_axis.iter().filter_map(|(axis, side)| Some(side * found.of_axis.get(axis)?)).collect();
    // "creation failed" says that it was tried, "created" that it was done.
    let only_one_failed = wanted.is_failed != found.is_failed && !wanted.plain.is_disjoint(&found.plain);
    match (only_one_failed || products.contains(&-1), products.iter().sum()) {
        (true, _) => Relation::Opposite,
        (false, 1..) => Relation::Same,
        _ => Relation::Neutral,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposites() {
        for (a, b) in [
            ("containers that failed to start", "Container 100 started"),
            ("backup failed", "Backup of VM 101 completed"),
            ("who was denied", "access granted to alice"),
            ("link is up", "eth0: link down"),
            ("no errors", "3 errors were found"),
            ("services that could not be stopped", "Stopped nginx"),
        ] {
            assert_eq!(relation(a, b), Relation::Opposite, "{a} / {b}: {:?} {:?}", sides(a), sides(b));
            assert_eq!(relation(b, a), Relation::Opposite, "{b} / {a}");
        }
        for (a, b) in [
            ("containers that failed to start", "Container 100 could not be launched"),
            ("what was mounted", "Mounted /dev/sdb1"),
            ("no errors", "finished without errors"),
            ("unmounted disks", "umount of sdb"),
        ] {
            assert_eq!(relation(a, b), Relation::Same, "{a} / {b}: {:?} {:?}", sides(a), sides(b));
        }
        assert_eq!(relation("nginx", "Restarted nginx"), Relation::Neutral);
        assert_eq!(relation("what failed", "hostname/location"), Relation::Neutral);
    }
}
