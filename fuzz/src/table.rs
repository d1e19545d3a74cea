//! Tables and bundles with the checksums put right, so that damage reaches the code behind the checks.

use std::path::Path;

use prost::Message;
use tfod_checkpoint::table::{Table, TableWriter};
use tfod_proto::BundleEntryProto;

use crate::{Random, message};

/// Footer: two handles in 40 bytes, and eight bytes that say what file this is.
const FOOTER: usize = 48;
const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// The pairs of a table.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn handle(bytes: &[u8], at: &mut usize) -> Option<(usize, usize)> {
    let offset = usize::try_from(varint(bytes, at)?).ok()?;
    let size = usize::try_from(varint(bytes, at)?).ok()?;
    Some((offset, size))
}

/// LevelDB's masked CRC-32C.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// Puts the checksum of a block right, if there is such a block.
fn repair_block(bytes: &mut [u8], (offset, size): (usize, usize)) -> Option<()> {
    let end = offset.checked_add(size)?.checked_add(1)?;
    let sum = masked(bytes.get(offset..end)?).to_le_bytes();
    bytes
        .get_mut(end..end.checked_add(4)?)?
        .copy_from_slice(&sum);
    Some(())
}

/// Puts the magic number and all the checksums that can be found right.
pub fn repair(bytes: &mut [u8]) -> Option<()> {
    let footer = bytes.len().checked_sub(FOOTER)?;
    bytes[footer + 40..].copy_from_slice(&MAGIC);
    let mut at = footer;
    let metaindex = handle(bytes, &mut at)?;
    let index = handle(bytes, &mut at)?;
    // The data blocks that the index block names, as far as it makes sense.
    let mut at = index.0;
    let end = index.0.checked_add(index.1)?.checked_sub(4)?;
    while at < end {
        varint(bytes, &mut at)?;
        let unshared = usize::try_from(varint(bytes, &mut at)?).ok()?;
        let length = usize::try_from(varint(bytes, &mut at)?).ok()?;
        at = at.checked_add(unshared)?;
        let Some(block) = handle(bytes, &mut at.clone()) else {
            break;
        };
        let _ = repair_block(bytes, block);
        at = at.checked_add(length)?;
    }
    repair_block(bytes, metaindex);
    repair_block(bytes, index)
}

/// The pairs of a table that is not damaged.
pub fn pairs(bytes: &[u8]) -> Option<Pairs> {
    let mut pairs = Vec::new();
    Table::open(Path::new("fuzz"), bytes)
        .ok()?
        .for_each(|key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            Ok(())
        })
        .ok()?;
    Some(pairs)
}

/// The table of some pairs, in whatever order they are.
pub fn table(mut pairs: Pairs) -> Vec<u8> {
    pairs.sort();
    pairs.dedup_by(|a, b| a.0 == b.0);
    let mut writer = TableWriter::new(Vec::new());
    for (key, value) in pairs {
        writer.add(&key, &value).expect("the keys are in order");
    }
    writer.finish().expect("memory can be written")
}

/// Changes one pair of a table, or the set of them. `None` if the table is damaged.
pub fn mutate(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut pairs = pairs(bytes)?;
    if pairs.is_empty() {
        return None;
    }
    let at = random.below(pairs.len());
    match random.below(10) {
        0 => {
            pairs.remove(at);
        }
        1 => {
            let value = pairs[at].1.clone();
            let key = &mut pairs[at].0;
            if key.is_empty() {
                key.push(random.bits() as u8);
            } else {
                let place = random.below(key.len());
                key[place] = random.bits() as u8;
            }
            let mut key = key.clone();
            key.push(random.bits() as u8);
            pairs.push((key, value));
        }
        2 => {
            let other = random.below(pairs.len());
            pairs[at].1 = pairs[other].1.clone();
        }
        _ => pairs[at].1 = message::mutate(&pairs[at].1, random)?,
    }
    Some(table(pairs))
}

/// Gives every entry of an index the checksum that its bytes in `data`, the only shard, have. String tensors have one more checksum
/// among their bytes.
pub fn sum_entries(index: &[u8], data: &mut [u8]) -> Option<Vec<u8>> {
    let mut pairs = pairs(index)?;
    for (key, value) in &mut pairs {
        let Ok(mut entry) = BundleEntryProto::decode(value.as_slice()) else {
            continue;
        };
        if key.is_empty() {
            continue;
        }
        if let Some(sum) = sum_entry(&entry, data) {
            entry.crc32c = sum;
            *value = entry.encode_to_vec();
        }
    }
    Some(table(pairs))
}

fn sum_entry(entry: &BundleEntryProto, data: &mut [u8]) -> Option<u32> {
    const STRING: i32 = 7;
    let offset = usize::try_from(entry.offset).ok()?;
    let end = offset.checked_add(usize::try_from(entry.size).ok()?)?;
    let bytes = data.get_mut(offset..end)?;
    if entry.dtype != STRING {
        return Some(masked(bytes));
    }
    let dims = entry.shape.iter().flat_map(|shape| &shape.dim);
    let count = dims.fold(1i64, |count, dim| count.saturating_mul(dim.size));
    let (mut at, mut lengths) = (0, Vec::new());
    for _ in 0..count {
        let length = varint(bytes, &mut at)?;
        match u32::try_from(length) {
            Ok(short) => lengths.extend(short.to_le_bytes()),
            Err(_) => lengths.extend(length.to_le_bytes()),
        }
    }
    let sum = masked(&lengths).to_le_bytes();
    bytes.get_mut(at..at.checked_add(4)?)?.copy_from_slice(&sum);
    lengths.extend(&bytes[at..]);
    Some(masked(&lengths))
}
