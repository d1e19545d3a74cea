//! Files behind a model: a ZIP archive whose offsets count from the beginning of the model, so that the model is the archive's preface. Runtimes do not look behind
//! the model; what reads TFLite Metadata looks for the archive at the end.
//!
//! Specified by PKWARE's APPNOTE.TXT. Files are stored as they are, with the first day that the format knows.

/// The version of the format that has stored files.
const VERSION: u16 = 10;
/// The 1st of January 1980.
const DAY: u16 = (1 << 5) | 1;

/// The archive, which begins so many bytes behind the beginning of a file.
///
/// Contents and names are shorter than 4 GB and 64 KB, and there are fewer than 65536: they are those of [`crate::Metadata`], where they have been checked.
pub(crate) fn archive<'f>(
    begin: u32,
    files: impl IntoIterator<Item = (&'f str, &'f [u8])>,
) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    let mut count = 0u16;
    for (name, contents) in files {
        let at = begin.saturating_add(long(archive.len()));
        let mut entry = Vec::new();
        for short in [VERSION, 0, 0, 0, DAY] {
            entry.extend(short.to_le_bytes());
        }
        let length = long(contents.len());
        for word in [crc32fast::hash(contents), length, length] {
            entry.extend(word.to_le_bytes());
        }
        let name_length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        entry.extend(name_length.to_le_bytes());
        // Nothing more of the file.
        entry.extend(0u16.to_le_bytes());

        archive.extend(*b"PK\x03\x04");
        archive.extend(&entry);
        archive.extend(name.as_bytes());
        archive.extend(contents);

        directory.extend(*b"PK\x01\x02");
        directory.extend(VERSION.to_le_bytes());
        directory.extend(&entry);
        // A comment, a disk, attributes.
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
        count += 1;
    }
    let at = begin.saturating_add(long(archive.len()));
    archive.extend(&directory);
    archive.extend(*b"PK\x05\x06");
    for short in [0, 0, count, count] {
        archive.extend(short.to_le_bytes());
    }
    for word in [long(directory.len()), at] {
        archive.extend(word.to_le_bytes());
    }
    archive.extend(0u16.to_le_bytes());
    archive
}

fn long(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
