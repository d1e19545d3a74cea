//! Protobuf's wire format, read without copies and without a schema.
//!
//! Decoded messages of a large graph take fifty times the memory of their bytes, and readers of graphs want little of them. So messages are read as
//! slices of the file, and only what matters is decoded. Specified in <https://protobuf.dev/programming-guides/encoding/>.

/// The largest message that protobuf allows, in bytes.
pub const MESSAGE_LIMIT: u64 = (1 << 31) - 1;

/// The bytes are not a message; where, in memory.
#[derive(Clone, Copy, Debug)]
pub struct Malformed {
    /// The address of the first byte that makes no sense. Only its distance to the start of the file means something.
    address: usize,
    problem: &'static str,
}

impl Malformed {
    /// Damage at the first of these bytes.
    pub fn at(bytes: &[u8]) -> Self {
        Self::because(bytes, "a field is cut short or of no kind that there is")
    }

    /// Damage at the first of these bytes, in words that follow the place.
    pub fn because(bytes: &[u8], problem: &'static str) -> Self {
        Self {
            address: bytes.as_ptr() as usize,
            problem,
        }
    }

    /// What is wrong.
    pub fn problem(self) -> &'static str {
        self.problem
    }

    /// The offset in the file that is in memory as `file`.
    pub fn offset_in(self, file: &[u8]) -> usize {
        self.address
            .saturating_sub(file.as_ptr() as usize)
            .min(file.len())
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// Integers, booleans and enums.
    Varint(u64),
    /// Messages, strings, bytes and packed lists.
    Bytes(&'a [u8]),
    /// `float`, `fixed32`.
    Fixed32(u32),
    /// `double`, `fixed64`.
    Fixed64(u64),
}

impl<'a> Field<'a> {
    /// A message, string or bytes; `None` for a number, where the schema has none of these.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Field::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A number written as a varint.
    pub fn varint(self) -> Option<u64> {
        match self {
            Field::Varint(value) => Some(value),
            _ => None,
        }
    }

    /// Bytes that are UTF-8: copied, then checked, since bytes of a mapped file can be changed by another process after any check.
    pub fn text(self) -> Option<String> {
        String::of_bytes(self.bytes()?)
    }

    /// Bytes that are UTF-8, where they are. Only for messages that no other process can change, so not for those in mapped files.
    pub fn borrowed_text(self) -> Option<&'a str> {
        <&str>::of_bytes(self.bytes()?)
    }
}

/// Text of a message: `&str` for messages in this process's own memory, `String` for those in mapped files (see [`Field::text`]).
pub trait Text<'a>: Sized + Default + AsRef<str> {
    /// The text, if the bytes are UTF-8.
    fn of_bytes(bytes: &'a [u8]) -> Option<Self>;
}

impl<'a> Text<'a> for &'a str {
    fn of_bytes(bytes: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()
    }
}

impl Text<'_> for String {
    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
}

/// A varint of at most 64 bits, and the bytes after it; `None` where they end before it does, or it is larger. Sorted tables have the same.
pub fn varint(mut bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for a single bit.
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((value, bytes));
        }
    }
    None
}

/// Appends a number as a varint: seven bits a byte, the lowest first, the top bit set on all but the last byte.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// The last of the fields of a number, which is the one that counts.
pub fn last(message: &[u8], number: u32) -> Option<Field<'_>> {
    all(message, number).last()
}

/// All fields of a number, up to where the message is damaged.
pub fn all(message: &[u8], number: u32) -> impl Iterator<Item = Field<'_>> {
    let fields = Fields::of(message).map_while(Result::ok);
    fields
        .filter(move |(found, _)| *found == number)
        .map(|(_, field)| field)
}

/// The fields of a message, in the order in which they are written.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Those of an encoded message.
    pub fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The varints of a packed list, each `None` where the list is cut short; none follows that.
    pub fn packed_varints(list: &'a [u8]) -> impl Iterator<Item = Option<u64>> + 'a {
        let mut rest = Self(list);
        std::iter::from_fn(move || {
            (!rest.0.is_empty()).then(|| {
                let value = rest.varint();
                if value.is_none() {
                    rest.0 = &[];
                }
                value
            })
        })
    }

    fn varint(&mut self) -> Option<u64> {
        let (value, rest) = varint(self.0)?;
        self.0 = rest;
        Some(value)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u32, Field<'a>)> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0)?;
        let value = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(usize::try_from(length).ok()?)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            // Groups are not in TensorFlow's messages.
            _ => return None,
        };
        Some((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let start = self.0;
        let field = self.field().ok_or_else(|| {
            self.0 = &[];
            Malformed::at(start)
        });
        Some(field)
    }
}

/// The entry of a map with string keys: field 1 is the key, field 2 the value's message.
///
/// # Errors
/// Where the entry is no message of such fields.
pub fn map_entry<'a, S: Text<'a>>(entry: &'a [u8]) -> Result<(S, &'a [u8]), Malformed> {
    const KEY: &str = "the key of a map is no text";
    const VALUE: &str = "the value of a map is no message";
    let (mut key, mut value) = (S::default(), &entry[..0]);
    for field in Fields::of(entry) {
        match field? {
            (1, field) => {
                let text = field.bytes().and_then(S::of_bytes);
                key = text.ok_or_else(|| Malformed::because(entry, KEY))?;
            }
            (2, field) => {
                value = field
                    .bytes()
                    .ok_or_else(|| Malformed::because(entry, VALUE))?;
            }
            _ => {}
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind() {
        let bytes = [
            0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0,
            0,
        ];
        let fields: Vec<_> = Fields::of(&bytes)
            .map(|field| field.expect("well-formed"))
            .collect();
        let expected = [
            (1, Field::Varint(150)),
            (2, Field::Bytes(b"hi")),
            (3, Field::Fixed32(1)),
            (4, Field::Fixed64(2)),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_place_of_damage_is_known() {
        let bytes = [0x08, 0x01, 0x12, 0x7f, b'x'];
        let error = Fields::of(&bytes)
            .find_map(Result::err)
            .expect("the second field is cut short");
        assert_eq!(error.offset_in(&bytes), 2);
    }

    #[test]
    fn text_is_copied_and_checked() {
        let entry = [0x0a, 2, b'h', b'i', 0x12, 1, 7];
        let (key, value): (String, _) = map_entry(&entry).expect("well-formed");
        assert_eq!((key.as_str(), value), ("hi", &[7][..]));
        let error = map_entry::<&str>(&[0x0a, 1, 0xff]).expect_err("the key is no UTF-8");
        assert_eq!(error.problem(), "the key of a map is no text");
        assert_eq!(Field::Bytes(&[0xff]).text(), None);
        assert_eq!(Field::Varint(1).borrowed_text(), None);
    }

    #[test]
    fn of_repeated_fields_the_last_counts() {
        assert_eq!(
            last(&[0x08, 1, 0x10, 2, 0x08, 3], 1),
            Some(Field::Varint(3))
        );
        assert_eq!(last(&[0x08, 1], 2), None);
    }

    #[test]
    fn a_packed_list_ends_where_it_is_cut_short() {
        let values: Vec<_> = Fields::packed_varints(&[1, 0x96, 0x01, 0x80]).collect();
        assert_eq!(values, [Some(1), Some(150), None]);
    }
}
