//! Time as text: RFC 3339 in UTC, independent of locale and time zone.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2025-01-15T10:00:00Z` for a moment; moments before 1970 count as 1970.
#[must_use]
pub fn rfc3339(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The same to the millisecond: `2025-01-15T10:00:00.123Z`.
#[must_use]
pub fn rfc3339_ms(moment: SystemTime) -> String {
    let millis = moment.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    format!("{}.{millis:03}Z", rfc3339(moment).trim_end_matches('Z'))
}

/// The moment that [`rfc3339`] or [`rfc3339_ms`] wrote down.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, millis) = time.split_once('.').unwrap_or((time, "0"));
    let numbers = |text: &str, separator: char| -> Option<[u64; 3]> {
        let numbers: Option<Vec<u64>> = text.split(separator).map(|n| n.parse().ok()).collect();
        numbers?.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
    let is_date = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // The years count from March, so that the day a leap year has more is the last of one.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis.parse().ok()?))
}

/// Days since 1970-01-01 to year, month, day in the Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil_date`], for dates from 1970 on.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year / 400 * 146_097 + day_of_era - 719_468
}

/// An hour of UTC, written `2025-01-15-10:00`: how snapshots that are taken hourly are told apart.
///
/// Good: `2025-01-15-10:00`. Bad: `2025-1-15-10:00`, `2025-02-30-10:00`, `2025-01-15-10:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u64);

impl Hour {
    /// The hour a moment lies in; moments before 1970 count as 1970.
    #[must_use]
    pub fn of(moment: SystemTime) -> Self {
        Self(moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 3600)
    }

    /// Reads what [`fmt::Display`] writes; `None` for everything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
        let (year, month, day, hour) = (number(0..4)?, number(5..7)?, number(8..10)?, number(11..13)?);
        if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 {
            return None;
        }
        let days = days_before(year, month, day);
        let read = Self(days * 24 + hour);
        (read.to_string() == text).then_some(read)
    }

    /// The hour that is `hours` later, or earlier when that is negative.
    #[must_use]
    pub fn plus(self, hours: i64) -> Self {
        Self(self.0.saturating_add_signed(hours))
    }

    /// When it began.
    #[must_use]
    pub fn began(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.saturating_mul(3600))
    }

    /// How many hours after `earlier` it is; 0 when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_date(self.0 / 24);
        write!(f, "{year:04}-{month:02}-{day:02}-{:02}:00", self.0 % 24)
    }
}

/// `30s`, `500ms`, `2m`, `1h` or a bare number of seconds as a duration.
pub fn parse_duration(text: &str) -> super::Result<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor_ms = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor_ms)) {
        Some(ms) if factor_ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(super::Error::usage("this is no duration")
            .on(format!("{text:?}"))
            .hint("write a number with ms, s, m or h, for example 30s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_736_935_200, "2025-01-15T10:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            let moment = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(moment), text);
            assert_eq!(parse_rfc3339(text), Some(moment));
            let later = moment + Duration::from_millis(7);
            assert_eq!(parse_rfc3339(&rfc3339_ms(later)), Some(later));
        }
    }

    #[test]
    fn what_is_no_moment() {
        assert_eq!(rfc3339_ms(UNIX_EPOCH + Duration::from_millis(1_007)), "1970-01-01T00:00:01.007Z");
        for bad in
            ["", "2025-01-15", "2025-01-15T10:00:00", "2025-13-01T00:00:00Z", "1969-12-31T23:59:59Z", "a-b-cTd:e:fZ"]
        {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn hours() {
        for (seconds, text) in
            [(0, "1970-01-01-00:00"), (951_868_799, "2000-02-29-23:00"), (1_736_935_200, "2025-01-15-10:00")]
        {
            let hour = Hour::of(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!((hour.to_string().as_str(), Hour::parse(text)), (text, Some(hour)));
        }
        for hours in (0..1_000_000).step_by(997) {
            assert_eq!(Hour::parse(&Hour(hours).to_string()), Some(Hour(hours)));
        }
        for bad in [
            "",
            "2025",
            "2025-01-15-10:30",
            "2025-1-15-10:00",
            "2025-02-30-10:00",
            "2025-00-15-10:00",
            "2025-13-15-10:00",
            "2025-01-00-10:00",
            "2025-01-15-24:00",
            "1969-12-31-23:00",
            "2025-01-15T10:00",
            "2025-01-15-10:00 ",
            "+025-01-15-10:00",
            "2025-01-15-1\u{e9}:00",
        ] {
            assert_eq!(Hour::parse(bad), None, "{bad}");
        }
        assert_eq!(Hour(5).plus(-7), Hour(0));
        assert_eq!((Hour(7).since(Hour(5)), Hour(5).since(Hour(7))), (2, 0));
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("2m").unwrap(), Duration::from_secs(120));
        for bad in ["", "s", "-1s", "1.5s", "10 s", "1d", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
