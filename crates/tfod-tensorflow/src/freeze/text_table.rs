//! Text files that fill tables: vocabularies, and lists of keys and values.
//!
//! The rules are those of `InitializeTableFromTextFileV2`: an entry a line; a key or value is a column of it, the whole line, or the line's number.

use std::io::Read as _;
use std::path::{Component, Path};

use tfod_checkpoint::DType;
use tfod_text::Shown as _;

use crate::messages::tensor::STRINGS;

use super::constants::{Content, header};
use super::wire::put_bytes;

/// The number of a column that is the whole line.
const WHOLE_LINE: i64 = -2;

/// The number of a column that is the line's number.
const LINE_NUMBER: i64 = -1;

/// What of each line is what.
#[derive(Debug)]
pub(crate) struct Columns {
    /// The column of the keys and their element type, a number of `DataType`.
    pub(crate) key: (i64, i32),
    /// The column of the values and their element type.
    pub(crate) value: (i64, i32),
    /// How many lines are read, if not all.
    pub(crate) size: Option<u64>,
    pub(crate) delimiter: String,
    /// Added to numbers of lines.
    pub(crate) offset: i64,
}

/// How many bytes may be read from text files, and made of them, for all tables together.
const MAX_BYTES: u64 = 1 << 30;

/// How many bytes may still be read and made.
#[derive(Debug)]
pub(crate) struct Room(u64);

impl Default for Room {
    fn default() -> Self {
        Self(MAX_BYTES)
    }
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.0.checked_sub(bytes as u64);
        self.0 = left.ok_or_else(|| {
            format!(
                "the files of all tables, and what is made of them, are more than {MAX_BYTES} bytes"
            )
        })?;
        Ok(())
    }
}

/// The keys and values in an asset of a SavedModel.
///
/// # Errors
/// What is wrong with the file or its columns.
pub(crate) fn read(
    folder: &Path,
    asset: &Path,
    columns: &Columns,
    room: &mut Room,
) -> Result<[Content<'static>; 2], String> {
    let mut parts = asset.components();
    if !parts.all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!(
            "the asset `{}` is outside of the model's folder",
            asset.shown()
        ));
    }
    let path = folder.join("assets").join(asset);
    let cannot = |problem: std::io::Error| format!("cannot read {}: {problem}", path.shown());
    let file = tfod_checkpoint::open_regular(&path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(room.0 + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    let in_file = |problem| format!("{}: {problem}", path.shown());
    room.take(bytes.len()).map_err(in_file)?;
    parse(&bytes, columns, room).map_err(in_file)
}

fn parse(
    bytes: &[u8],
    columns: &Columns,
    room: &mut Room,
) -> Result<[Content<'static>; 2], String> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let most = columns
        .size
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(usize::MAX);
    let mut sides = [
        Column::new(columns.key, columns)?,
        Column::new(columns.value, columns)?,
    ];
    let mut count = 0;
    let lines = bytes.split(|&byte| byte == b'\n');
    for line in lines.take(if bytes.is_empty() { 0 } else { most }) {
        let line: Vec<u8> = line.iter().copied().filter(|&b| b != b'\r').collect();
        if line.is_empty() {
            return Err(format!("line {} is empty", count + 1));
        }
        for side in &mut sides {
            let before = side.bytes.len();
            let pushed = side.push(&line, count);
            let pushed = pushed.and_then(|()| room.take(side.bytes.len() - before));
            pushed.map_err(|problem| format!("line {}: {problem}", count + 1))?;
        }
        count += 1;
    }
    if columns.size.is_some() && count < most {
        return Err(format!("{most} lines were expected, and there are {count}"));
    }
    Ok(sides.map(|side| side.content(count)))
}

/// The keys, or the values.
struct Column<'c> {
    index: i64,
    dtype: DType,
    columns: &'c Columns,
    bytes: Vec<u8>,
}

impl<'c> Column<'c> {
    fn new((index, data_type): (i64, i32), columns: &'c Columns) -> Result<Self, String> {
        let dtype = DType::from_proto(data_type)
            .ok_or_else(|| format!("the table has the element type {data_type}"))?;
        if index == LINE_NUMBER && dtype != DType::Int64 {
            return Err(format!("the numbers of lines are int64, not {dtype}"));
        }
        Ok(Self {
            index,
            dtype,
            columns,
            bytes: Vec::new(),
        })
    }

    fn push(&mut self, line: &[u8], number: usize) -> Result<(), String> {
        if self.index == LINE_NUMBER {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            let number = number.saturating_add(self.columns.offset);
            self.bytes.extend_from_slice(&number.to_le_bytes());
            return Ok(());
        }
        let part = if self.index == WHOLE_LINE {
            line
        } else {
            part_of(line, self.columns.delimiter.as_bytes(), self.index)?
        };
        if self.dtype == DType::String {
            put_bytes(&mut self.bytes, STRINGS, part);
            return Ok(());
        }
        let text = String::from_utf8_lossy(part);
        let text = text.trim();
        let wrong = || format!("`{text}` is no {}", self.dtype);
        match self.dtype {
            DType::Int32 => {
                let number: i32 = text.parse().map_err(|_| wrong())?;
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
            DType::Int64 => {
                let number: i64 = text.parse().map_err(|_| wrong())?;
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
            DType::Float32 => {
                let number: f32 = text.parse().map_err(|_| wrong())?;
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
            DType::Float64 => {
                let number: f64 = text.parse().map_err(|_| wrong())?;
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
            other => return Err(format!("{other} cannot be read from text")),
        }
        Ok(())
    }

    fn content(self, count: usize) -> Content<'static> {
        let data_type = tfod_proto::DataType::from(self.dtype).into();
        if self.dtype == DType::String {
            let mut tensor = header(data_type, &[count]);
            tensor.extend_from_slice(&self.bytes);
            return Content::Encoded(tensor.into());
        }
        Content::numeric(data_type, &[count], &self.bytes)
    }
}

fn part_of<'l>(line: &'l [u8], delimiter: &[u8], index: i64) -> Result<&'l [u8], String> {
    let &[delimiter] = delimiter else {
        return Err("the delimiter of its columns is not one character".to_owned());
    };
    let mut parts = line.split(|&byte| byte == delimiter);
    let index = usize::try_from(index).map_err(|_| format!("there is no column {index}"))?;
    parts
        .nth(index)
        .ok_or_else(|| format!("it has no column {index}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::constants::{Array, Decoded};

    const INT64: i32 = 9;
    const STRING: i32 = 7;
    const FLOAT: i32 = 1;

    fn columns(key: (i64, i32), value: (i64, i32)) -> Columns {
        Columns {
            key,
            value,
            size: None,
            delimiter: "\t".to_owned(),
            offset: 0,
        }
    }

    fn integers(content: &Content<'_>) -> Vec<i64> {
        let decoded = Decoded::of(&encoded(content)).expect("a tensor");
        let array = Array::of(&decoded, 10).expect("few numbers");
        array.integers().expect("integers")
    }

    fn encoded(content: &Content<'_>) -> Vec<u8> {
        match content {
            Content::Encoded(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_vocabulary_is_lines_and_their_numbers() {
        let columns = Columns {
            offset: 2,
            ..columns((WHOLE_LINE, STRING), (LINE_NUMBER, INT64))
        };
        let [keys, values] =
            parse(b"bread\r\nmilk\n", &columns, &mut Room::default()).expect("a vocabulary");
        assert!(encoded(&keys).ends_with(b"\x42\x05bread\x42\x04milk"));
        assert_eq!(integers(&values), [2, 3]);
    }

    #[test]
    fn columns_are_read_as_numbers() {
        let text = b"k\t5\t0.5\nl\t-6\t2";
        let [keys, values] =
            parse(text, &columns((1, INT64), (2, FLOAT)), &mut Room::default()).expect("columns");
        assert_eq!(integers(&keys), [5, -6]);
        let floats: Vec<u8> = [0.5f32, 2.0].iter().flat_map(|f| f.to_le_bytes()).collect();
        assert!(encoded(&values).ends_with(&floats));
    }

    #[test]
    fn what_does_not_fit_is_said_with_its_line() {
        let text = b"a\t1\n\nb\t2\n";
        let problem = |columns: &Columns, text: &[u8]| {
            parse(text, columns, &mut Room::default()).expect_err("a problem")
        };
        let whole = columns((WHOLE_LINE, STRING), (LINE_NUMBER, INT64));
        assert_eq!(problem(&whole, text), "line 2 is empty");
        let second = columns((0, STRING), (1, INT64));
        assert_eq!(problem(&second, b"a\t1\nb"), "line 2: it has no column 1");
        assert_eq!(problem(&second, b"a\tx"), "line 1: `x` is no int64");
        let five = Columns {
            size: Some(5),
            ..whole
        };
        assert!(problem(&five, b"a\nb").contains("5 lines were expected, and there are 2"));
        let outside = read(
            Path::new("."),
            Path::new("../x"),
            &five,
            &mut Room::default(),
        )
        .expect_err("a problem");
        assert!(outside.contains("outside"), "{outside}");
    }

    /// A few tables may name one file.
    #[test]
    fn all_tables_together_have_a_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("assets")).expect("a folder");
        fs::write(folder.path().join("assets/words"), "a\nb\nc\n").expect("a file");
        let columns = columns((WHOLE_LINE, STRING), (LINE_NUMBER, INT64));
        // Six bytes, three keys of three, three numbers of eight.
        let mut room = Room(2 * 39 + 38);
        let mut read = || read(folder.path(), Path::new("words"), &columns, &mut room);
        read().expect("there is room");
        read().expect("there is room");
        let problem = read().expect_err("there is no room");
        assert!(
            problem.contains("words: line 3: the files of all tables"),
            "{problem}"
        );
    }
}
