//! Numbers of bytes, as people write and read them.

use super::{Error, Result};

/// `150 MB` for 150,000,000: as people and package managers say it.
#[must_use]
pub fn for_people(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    #[expect(clippy::cast_precision_loss, reason = "a rounded number for people")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit < units.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 10.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// `2G`, `512M`, `64K` (of 1024 each, as `truncate` and `lvcreate` read them) or a bare number of bytes.
pub fn parse(text: &str) -> Result<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1_u64 << 40,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(bytes) if factor > 0 => Ok(bytes),
        _ => Err(Error::usage("this is no size")
            .on(format!("{text:?}"))
            .hint("write a number with K, M, G or T, for example 2G")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written() {
        for (bytes, text) in [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (150_000_000, "150 MB")] {
            assert_eq!(for_people(bytes), text);
        }
        for (text, bytes) in [("0", 0), ("512B", 512), ("2G", 2 << 30), ("64KiB", 65536), ("1T", 1 << 40)] {
            assert_eq!(parse(text).unwrap(), bytes);
        }
        for bad in ["", "G", "-1", "1.5G", "2 G", "2GB", "99999999T", "2g"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
