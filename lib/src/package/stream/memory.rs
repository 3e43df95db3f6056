//! A tree in memory: to look at what a package holds without writing anything.

use super::gate::move_entries;
use super::unpack::Sink;
use crate::base::{Error, Result};
use std::collections::BTreeMap;

/// Content of files by path; `None` is a folder. The gate bounds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory(pub BTreeMap<String, Option<Vec<u8>>>);

impl Memory {
    /// The content of a file.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path)?.as_deref()
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        let text = self.file(path).map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
        text.map_err(|_| Error::bad_input("it is not UTF-8 text").on(path))
    }

    fn content(&mut self, path: &str) -> Result<&mut Vec<u8>> {
        self.0.get_mut(path).and_then(Option::as_mut).ok_or_else(|| Error::untrusted("there is no such file").on(path))
    }
}

impl Sink for Memory {
    fn make_file(&mut self, path: &str) -> Result<()> {
        self.0.insert(path.into(), Some(Vec::new()));
        Ok(())
    }

    fn make_folder(&mut self, path: &str) -> Result<()> {
        self.0.insert(path.into(), None);
        Ok(())
    }

    fn rename(&mut self, path: &str, to: &str) -> Result<()> {
        move_entries(&mut self.0, path, to);
        Ok(())
    }

    fn write(&mut self, path: &str, offset: u64, data: &[u8]) -> Result<()> {
        let content = self.content(path)?;
        if data.is_empty() {
            return Ok(());
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(data.len());
        content.resize(content.len().max(end), 0);
        content[start..end].copy_from_slice(data);
        Ok(())
    }

    fn read(&mut self, path: &str, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let content = self.content(path)?;
        let part = usize::try_from(offset).ok().and_then(|start| content.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(part.ok_or_else(|| Error::untrusted("the file is shorter than that").on(path))?);
        Ok(())
    }

    fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        self.content(path)?.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
        Ok(())
    }
}
