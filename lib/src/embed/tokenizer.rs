//! Texts to tokens.

use super::model::Model;
use crate::base::{Error, Result};
use tokenizers::Tokenizer as Inner;
use tokenizers::utils::truncation::TruncationParams;

/// A model's tokenizer: every text alone, without padding, cut at the model's number of tokens.
pub struct Tokenizer {
    inner: Inner,
    prefix: Option<String>,
}

/// The tokens of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Their numbers, the special ones at both ends included.
    pub ids: Vec<i64>,
    /// Whether the text had more of them than the model reads.
    pub is_cut: bool,
}

impl Tokenizer {
    /// The tokenizer of a model.
    pub fn of(model: &Model) -> Result<Self> {
        let file = &model.manifest.tokenizer;
        let bytes = model.read(file)?;
        let wrong = |e: tokenizers::Error| {
            Error::bad_input(format!("could not read the tokenizer: {e}")).on(format!("{model}: {}", file.file))
        };
        let mut inner = Inner::from_bytes(&bytes).map_err(wrong)?;
        // What packages ship pads every text to the same length: it would cost that of the longest each time.
        inner.with_padding(None);
        let truncation = TruncationParams { max_length: model.manifest.max_tokens, ..TruncationParams::default() };
        inner.with_truncation(Some(truncation)).map_err(wrong)?;
        Ok(Self { inner, prefix: model.manifest.prefix.clone() })
    }

    /// The tokens of a text.
    pub fn tokens(&self, text: &str) -> Result<Tokens> {
        let prefixed = self.prefix.as_ref().map(|prefix| format!("{prefix}{text}"));
        let encoding = self
            .inner
            .encode_fast(prefixed.as_deref().unwrap_or(text), true)
            .map_err(|e| Error::bad_input(format!("could not take the text apart: {e}")))?;
        let ids: Vec<i64> = encoding.get_ids().iter().map(|&id| i64::from(id)).collect();
        if ids.is_empty() {
            return Err(Error::bad_input("the tokenizer made nothing of this text"));
        }
        Ok(Tokens { ids, is_cut: !encoding.get_overflowing().is_empty() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_padding_and_cut_where_the_model_ends() {
        let tokenizer = Tokenizer::of(&Model::built_in().unwrap()).unwrap();
        let short = tokenizer.tokens("Creating container 100").unwrap();
        assert!((4..10).contains(&short.ids.len()) && !short.is_cut, "{short:?}");
        assert_eq!(tokenizer.tokens("").unwrap().ids.len(), 2);
        let long = tokenizer.tokens(&"container ".repeat(50_000)).unwrap();
        assert_eq!((long.ids.len(), long.is_cut), (128, true));
        assert_eq!(long.ids.last(), short.ids.last(), "a cut text has its end mark");
        let strange = tokenizer.tokens("\0\u{202e}日本語 ümläut \u{10ffff}").unwrap();
        assert!(strange.ids.len() > 2);
    }
}
