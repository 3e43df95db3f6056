//! The file of a block's vectors.

use super::half;
use crate::audit::chain::Chain;
use crate::base::{Error, Result};
use crate::store::file::{self, Durability};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;

const MAGIC: &[u8; 8] = b"OPDBVEC1";
/// More than any model has.
const MAX_DIMENSION: usize = 1 << 14;
const MAX_HEADER: usize = 4096;

/// The vectors of one block.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockVectors {
    /// The model they are of.
    pub model: String,
    /// One for each entry, in order.
    pub vectors: Vec<Vec<f32>>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    block: String,
    count: usize,
    dimension: usize,
    model: String,
}

/// The vectors of block `number`, if they are there and are those of the block with this digest.
#[must_use]
pub fn read(chain: &Chain, number: u64, digest: &str) -> Option<BlockVectors> {
    let mut file = open(chain, number)?;
    let header = header(&mut file).filter(|header| header.block == digest)?;
    let size = header.count.checked_mul(header.dimension)?.checked_mul(2)?;
    let mut bytes = Vec::new();
    file.take(size as u64 + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() != size {
        return None;
    }
    let numbers: Vec<f32> =
        bytes.chunks_exact(2).map(|two| half::to_f32(u16::from_le_bytes([two[0], two[1]]))).collect();
    if numbers.iter().any(|number| !number.is_finite()) {
        return None;
    }
    let vectors = match header.dimension {
        0 => vec![Vec::new(); header.count],
        dimension => numbers.chunks_exact(dimension).map(<[f32]>::to_vec).collect(),
    };
    Some(BlockVectors { model: header.model, vectors })
}

/// The digest of the block and the model that the vectors of block `number` are of.
pub(super) fn of(chain: &Chain, number: u64) -> Option<(String, String)> {
    let header = header(&mut open(chain, number)?)?;
    Some((header.block, header.model))
}

fn open(chain: &Chain, number: u64) -> Option<File> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(chain.vectors(number), flags | rustix::fs::OFlags::NONBLOCK, rustix::fs::Mode::empty());
    Some(File::from(file.ok()?)).filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))
}

fn header(file: &mut File) -> Option<Header> {
    let mut start = [0; 12];
    file.read_exact(&mut start).ok()?;
    let length = u32::from_le_bytes([start[8], start[9], start[10], start[11]]) as usize;
    if start[..8] != *MAGIC || length > MAX_HEADER {
        return None;
    }
    let mut header = vec![0; length];
    file.read_exact(&mut header).ok()?;
    serde_json::from_slice(&header).ok().filter(|header: &Header| header.dimension <= MAX_DIMENSION)
}

/// Keeps the vectors of block `number`, which has this digest. Losing them costs time, never data.
pub fn write(chain: &Chain, number: u64, digest: &str, vectors: &BlockVectors) -> Result<()> {
    let dimension = vectors.vectors.first().map_or(0, Vec::len);
    let (count, model) = (vectors.vectors.len(), vectors.model.clone());
    let header = Header { block: digest.to_owned(), count, dimension, model };
    let header = serde_json::to_vec(&header).map_err(|e| Error::failed(e.to_string()))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(header);
    for vector in &vectors.vectors {
        if vector.len() != dimension {
            return Err(Error::failed("vectors of one block have different lengths"));
        }
        bytes.extend(vector.iter().flat_map(|value| half::from_f32(*value).to_le_bytes()));
    }
    let path = chain.vectors(number);
    chain.root().make_parent(&path)?;
    file::replace(&path, &bytes, Durability::Cache)
}
