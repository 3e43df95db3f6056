//! From what a model says of each token to one vector of a text.

use crate::base::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a text's vector comes from those of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Pooling {
    /// The model does it: its output is one vector a text.
    Model,
    /// The mean of the tokens' vectors.
    Mean,
    /// The first token's vector.
    Cls,
}

impl Pooling {
    /// The word for it in manifests and keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Mean => "mean",
            Self::Cls => "cls",
        }
    }

    /// The vectors of texts. `values` is the engine's output, where each text has room for `fed` tokens and the first of
    /// these, as many as `counts` says, are its own.
    #[must_use]
    pub fn pool(self, values: &[f32], counts: &[usize], fed: usize, dimension: usize) -> Vec<f32> {
        match self {
            Self::Model => values.to_vec(),
            Self::Cls => values.chunks_exact(fed * dimension).flat_map(|text| &text[..dimension]).copied().collect(),
            Self::Mean => {
                let mut pooled = Vec::with_capacity(counts.len() * dimension);
                for (text, &count) in values.chunks_exact(fed * dimension).zip(counts) {
                    let mut sums = vec![0f64; dimension];
                    for token in text[..count * dimension].chunks_exact(dimension) {
                        sums.iter_mut().zip(token).for_each(|(sum, &value)| *sum += f64::from(value));
                    }
                    pooled.extend(sums.into_iter().map(|sum| (sum / count as f64) as f32));
                }
                pooled
            }
        }
    }
}

/// Gives a vector the length one. A vector without a direction or with a value that is no number is nobody's answer.
pub fn normalise(vector: &mut [f32]) -> Result<()> {
    let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() || length < 1e-12 {
        return Err(Error::failed("the model gave a vector that has no direction or is not made of numbers")
            .hint("op-embed model verify looks at the model and the engine"));
    }
    for value in vector {
        *value = (f64::from(*value) / length) as f32;
    }
    Ok(())
}

/// Refuses a vector with a value that is no number.
pub fn check(vector: &[f32]) -> Result<()> {
    if vector.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(Error::failed("the model gave a vector that is not made of numbers")
        .hint("op-embed model verify looks at the model and the engine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_its_own_vector() {
        // Two texts with room for three tokens of two values; the second has two.
        let values = [1., 10., 2., 20., 6., 60., 0., 1., 4., 1., 99., 99.];
        assert_eq!(Pooling::Mean.pool(&values, &[3, 2], 3, 2), [3., 30., 2., 1.]);
        assert_eq!(Pooling::Cls.pool(&values, &[3, 2], 3, 2), [1., 10., 0., 1.]);
        assert_eq!(Pooling::Model.pool(&values[..4], &[3, 2], 3, 2), values[..4]);
    }

    #[test]
    fn a_direction_and_nothing_else() {
        let mut vector = [3., 4.];
        normalise(&mut vector).unwrap();
        assert_eq!(vector, [0.6, 0.8]);
        for wrong in [[0., 0.], [f32::NAN, 1.], [f32::INFINITY, 1.]] {
            assert!(normalise(&mut wrong.clone()).is_err());
        }
        assert!(check(&[1., f32::NAN]).is_err());
    }
}
