//! Many products of bytes at once, with what this processor has.

#![allow(unsafe_code, reason = "instructions that not every processor has")]

/// Rows of bytes are this much longer than they need be, so that no remainder is left over.
pub(super) const LANES: usize = 64;

/// Which instructions are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// What the compiler makes of a loop.
    Portable,
    /// 32 bytes at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 64 bytes at a time, multiplied and added in one step.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl Level {
    /// The best this processor has.
    pub(super) fn best() -> Self {
        Self::all().pop().unwrap_or(Self::Portable)
    }

    /// All that this processor has, the slowest first.
    pub(super) fn all() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "nothing is added there"))]
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                levels.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                levels.push(Self::Avx512Vnni);
            }
        }
        levels
    }

    /// Its name.
    #[cfg(test)]
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "avx512-vnni",
        }
    }
}

/// The product of `query` with each of the rows, which are as long as it is, one after the other, into `out`.
pub(super) fn dots(level: Level, rows: &[u8], query: &[i8], out: &mut [i32]) {
    let width = query.len();
    assert!(width.is_multiple_of(LANES) && width > 0 && rows.len() >= out.len() * width);
    match level {
        Level::Portable => {
            for (row, out) in rows.chunks_exact(width).zip(out) {
                *out = row.iter().zip(query).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            }
        }
        // SAFETY: the level is made only where the processor has the instructions, and the lengths were looked at above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { dots_avx2(rows, query, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni => unsafe { dots_avx512(rows, query, out) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dots_avx2(rows: &[u8], query: &[i8], out: &mut [i32]) {
    use std::arch::x86_64::*;
    let width = query.len();
    for (row, out) in rows.chunks_exact(width).zip(out) {
        let mut sum = _mm256_setzero_si256();
        for (a, b) in row.as_chunks::<16>().0.iter().zip(query.as_chunks::<16>().0) {
            // SAFETY: both are 16 bytes long, and these loads need no alignment.
            let (a, b) = unsafe { (_mm_loadu_si128(a.as_ptr().cast()), _mm_loadu_si128(b.as_ptr().cast())) };
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_cvtepu8_epi16(a), _mm256_cvtepi8_epi16(b)));
        }
        let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        let sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0b01_00_11_10));
        let sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0b10_11_00_01));
        *out = _mm_cvtsi128_si32(sum);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dots_avx512(rows: &[u8], query: &[i8], out: &mut [i32]) {
    use std::arch::x86_64::*;
    let width = query.len();
    for (row, out) in rows.chunks_exact(width).zip(out) {
        let mut sum = _mm512_setzero_si512();
        for (a, b) in row.as_chunks::<64>().0.iter().zip(query.as_chunks::<64>().0) {
            // SAFETY: both are 64 bytes long, and these loads need no alignment.
            let (a, b) = unsafe { (_mm512_loadu_si512(a.as_ptr().cast()), _mm512_loadu_si512(b.as_ptr().cast())) };
            sum = _mm512_dpbusd_epi32(sum, a, b);
        }
        *out = _mm512_reduce_add_epi32(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_counts_alike() {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for width in [64, 128, 384, 1024] {
            let rows: Vec<u8> = (0..width * 37).map(|_| next()).collect();
            let query: Vec<i8> = (0..width).map(|_| next().cast_signed()).collect();
            let right: Vec<i32> = rows
                .chunks(width)
                .map(|row| row.iter().zip(&query).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum())
                .collect();
            for level in Level::all() {
                let mut out = vec![0; 37];
                dots(level, &rows, &query, &mut out);
                assert_eq!(out, right, "{}", level.as_str());
            }
        }
        // The largest there can be does not wrap around.
        let (rows, query) = (vec![255_u8; 4096], vec![-127_i8; 4096]);
        for level in Level::all() {
            let mut out = [0];
            dots(level, &rows, &query, &mut out);
            assert_eq!(out, [-255 * 127 * 4096]);
        }
    }
}
