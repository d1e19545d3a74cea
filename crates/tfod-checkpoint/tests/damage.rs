//! Bundles that are incomplete, damaged or something else altogether: one clear error, naming file and tensor, and no
//! panic. And whatever is written is read.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{copy_of, fixture, rows};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use tfod_checkpoint::table::{Table, TableWriter};
use tfod_checkpoint::{
    Bundle, BundleWriter, DType, EntryProblem, Error, HeaderProblem, TensorProblem, index_path,
    shard_path,
};
use tfod_proto::prost::Message;
use tfod_proto::{BundleEntryProto, BundleHeaderProto};

/// Writes an index with the pairs of a fixture's, changed by `change`.
fn change_index(prefix: &Path, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) {
    let path = index_path(prefix);
    let bytes = fs::read(&path).unwrap();
    let mut pairs = BTreeMap::new();
    let collect = |key: &[u8], value: &[u8]| {
        pairs.insert(key.to_vec(), value.to_vec());
        Ok(())
    };
    Table::open(&path, &bytes)
        .unwrap()
        .for_each(collect)
        .unwrap();
    change(&mut pairs);
    let mut writer = TableWriter::new(Vec::new());
    for (key, value) in pairs {
        writer.add(&key, &value).unwrap();
    }
    fs::write(&path, writer.finish().unwrap()).unwrap();
}

fn open_with_header(change: impl FnOnce(&mut BundleHeaderProto)) -> HeaderProblem {
    let (_folder, prefix) = copy_of("two_shards/vars");
    change_index(&prefix, |pairs| {
        let header = pairs.get_mut(&b""[..]).unwrap();
        let mut message = BundleHeaderProto::decode(header.as_slice()).unwrap();
        change(&mut message);
        *header = message.encode_to_vec();
    });
    match Bundle::open(prefix) {
        Err(Error::Header { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

fn open_with_entry(change: impl FnOnce(&mut BundleEntryProto)) -> EntryProblem {
    let (_folder, prefix) = copy_of("two_shards/vars");
    change_index(&prefix, |pairs| {
        let entry = pairs.get_mut(&b"b"[..]).unwrap();
        let mut message = BundleEntryProto::decode(entry.as_slice()).unwrap();
        change(&mut message);
        *entry = message.encode_to_vec();
    });
    match Bundle::open(prefix) {
        Err(Error::Entry { problem, key, .. }) => {
            assert_eq!(key, "b");
            problem
        }
        other => panic!("{other:?}"),
    }
}

/// The error of reading a changed partitioned tensor.
fn read_with_parts(
    key: &str,
    change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>),
) -> EntryProblem {
    let (_folder, prefix) = copy_of("partitioned/vars");
    change_index(&prefix, change);
    match Bundle::open(prefix)
        .and_then(|bundle| bundle.tensor(key).map(|tensor| tensor.bytes.into_owned()))
    {
        Err(Error::Entry { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

fn change_entry(value: &mut Vec<u8>, change: impl FnOnce(&mut BundleEntryProto)) {
    let mut message = BundleEntryProto::decode(value.as_slice()).unwrap();
    change(&mut message);
    *value = message.encode_to_vec();
}

#[test]
fn an_absent_index_is_named() {
    let error = Bundle::open(fixture("training/ckpt-7")).unwrap_err();
    assert!(matches!(error, Error::MissingIndex { .. }));
    assert!(
        error
            .to_string()
            .contains("training/ckpt-7.index: no such file"),
        "{error}"
    );
}

#[test]
fn an_absent_shard_is_named_when_it_is_needed_and_not_before() {
    let (_folder, prefix) = copy_of("two_shards/vars");
    fs::remove_file(shard_path(&prefix, 1, 2)).unwrap();
    let bundle = Bundle::open(&prefix).unwrap();
    assert_eq!(bundle.entries().len(), 4);
    assert_eq!(bundle.tensor("a").unwrap().bytes[..4], 97i32.to_le_bytes());
    let error = bundle.tensor("b").unwrap_err();
    assert!(matches!(error, Error::MissingShard { .. }));
    let text = error.to_string();
    assert!(
        text.contains("vars.data-00001-of-00002: no such file") && text.contains("`b`"),
        "{text}"
    );
}

#[test]
fn git_lfs_pointers_are_recognized() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 31348\n";
    let (_folder, prefix) = copy_of("two_shards/vars");
    fs::write(shard_path(&prefix, 0, 2), pointer).unwrap();
    let error = Bundle::open(&prefix).unwrap().tensor("a").unwrap_err();
    assert!(matches!(&error, Error::LfsPointer { path } if *path == shard_path(&prefix, 0, 2)));
    assert!(error.to_string().contains("git lfs pull"));
    fs::write(index_path(&prefix), pointer).unwrap();
    assert!(
        matches!(Bundle::open(&prefix), Err(Error::LfsPointer { path }) if path == index_path(&prefix))
    );
}

#[test]
fn a_folder_or_an_empty_file_in_place_of_an_index_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a.index")).unwrap();
    assert!(matches!(
        Bundle::open(folder.path().join("a")),
        Err(Error::Io { .. })
    ));
    fs::write(folder.path().join("b.index"), "").unwrap();
    assert!(matches!(
        Bundle::open(folder.path().join("b")),
        Err(Error::Table { .. })
    ));
}

#[test]
fn headers_are_checked() {
    assert_eq!(
        open_with_header(|header| header.endianness = 1),
        HeaderProblem::BigEndian
    );
    assert_eq!(
        open_with_header(|header| header.num_shards = 0),
        HeaderProblem::BadShardCount(0)
    );
    assert_eq!(
        open_with_header(|header| header.version.as_mut().unwrap().min_consumer = 2),
        HeaderProblem::TooNew(2)
    );
}

#[test]
fn a_table_that_is_no_checkpoint_is_refused() {
    let (_folder, prefix) = copy_of("two_shards/vars");
    change_index(&prefix, |pairs| drop(pairs.remove(&b""[..])));
    assert!(matches!(
        Bundle::open(&prefix),
        Err(Error::Header {
            problem: HeaderProblem::Missing,
            ..
        })
    ));
    change_index(&prefix, BTreeMap::clear);
    assert!(matches!(
        Bundle::open(&prefix),
        Err(Error::Header {
            problem: HeaderProblem::Missing,
            ..
        })
    ));
}

#[test]
fn entries_are_checked() {
    let dim = |entry: &mut BundleEntryProto, size| entry.shape.as_mut().unwrap().dim[0].size = size;
    assert_eq!(
        open_with_entry(|entry| entry.dtype = 0),
        EntryProblem::UnknownDType(0)
    );
    assert_eq!(
        open_with_entry(|entry| dim(entry, -1)),
        EntryProblem::BadShape
    );
    assert_eq!(
        open_with_entry(|entry| dim(entry, i64::MAX)),
        EntryProblem::TooLarge
    );
    assert_eq!(
        open_with_entry(|entry| entry.shard_id = 2),
        EntryProblem::BadShard { found: 2, count: 2 }
    );
    assert_eq!(
        open_with_entry(|entry| entry.shard_id = -1),
        EntryProblem::BadShard {
            found: -1,
            count: 2
        }
    );
    assert_eq!(
        open_with_entry(|entry| entry.offset = -8),
        EntryProblem::BadRange {
            offset: -8,
            size: 8
        }
    );
    assert!(matches!(
        open_with_entry(|entry| dim(entry, 3)),
        EntryProblem::WrongSize { found: 8, .. }
    ));
    // A string takes at least a byte for its length, and the lengths' checksum four: no more strings than bytes.
    let strings = |entry: &mut BundleEntryProto| {
        entry.dtype = 7;
        dim(entry, 5);
    };
    assert!(matches!(
        open_with_entry(strings),
        EntryProblem::WrongSize { found: 8, .. }
    ));
}

#[test]
fn a_shard_that_is_too_short_is_an_error_of_the_tensor() {
    let (_folder, prefix) = copy_of("two_shards/vars");
    fs::write(shard_path(&prefix, 1, 2), [0; 12]).unwrap();
    let bundle = Bundle::open(&prefix).unwrap();
    match bundle.tensor("c").unwrap_err() {
        Error::Tensor { key, problem, .. } => {
            assert_eq!((key.as_str(), problem), ("c", TensorProblem::Outside(12)));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_shard_cut_short_while_open_is_an_error() {
    let (_folder, prefix) = copy_of("two_shards/vars");
    let bundle = Bundle::open(&prefix).unwrap();
    bundle.tensor("a").unwrap();
    fs::File::options()
        .write(true)
        .open(shard_path(&prefix, 0, 2))
        .unwrap()
        .set_len(3)
        .unwrap();
    assert!(matches!(
        bundle.tensor("d"),
        Err(Error::Shrunk {
            mapped: 16,
            now: 3,
            ..
        })
    ));
}

#[test]
fn reading_as_another_type_is_an_error() {
    let bundle = Bundle::open(fixture("types/vars")).unwrap();
    assert!(matches!(
        bundle.tensor("strings"),
        Err(Error::WrongType {
            found: DType::String,
            ..
        })
    ));
    assert!(matches!(
        bundle.strings("scalar"),
        Err(Error::WrongType {
            found: DType::Int64,
            ..
        })
    ));
    assert!(matches!(
        bundle.tensor("nothing"),
        Err(Error::NoSuchTensor { .. })
    ));
}

#[test]
fn parts_must_make_up_the_tensor() {
    let first_part = |pairs: &BTreeMap<Vec<u8>, Vec<u8>>| {
        pairs
            .keys()
            .find(|key| key.windows(4).any(|window| window == b"rows") && key[0] == 0)
            .unwrap()
            .clone()
    };
    let of_entry = |change: fn(&mut BundleEntryProto)| {
        read_with_parts("rows", |pairs| {
            change_entry(pairs.get_mut(&b"rows"[..]).unwrap(), change);
        })
    };
    assert_eq!(
        read_with_parts("rows", |pairs| drop(pairs.remove(&first_part(pairs)))),
        EntryProblem::MissingPart(0)
    );
    assert_eq!(
        read_with_parts("rows", |pairs| {
            let key = first_part(pairs);
            change_entry(pairs.get_mut(&key).unwrap(), |entry| entry.dtype = 9);
        }),
        EntryProblem::PartMismatch(0)
    );
    assert_eq!(
        of_entry(|entry| drop(entry.slices.pop())),
        EntryProblem::PartsDoNotCover {
            expected: 15,
            found: 6
        }
    );
    assert_eq!(
        of_entry(|entry| entry.slices[1] = entry.slices[0].clone()),
        EntryProblem::PartsOverlap(0, 1)
    );
    assert_eq!(
        of_entry(|entry| entry.slices[1].extent[0].start = 3),
        EntryProblem::BadPart(1)
    );
}

/// A small file must not ask for endless memory by giving the same bytes to many parts.
#[test]
fn parts_that_share_their_bytes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("x");
    let part = Value::Bytes(DType::UInt8, vec![50], vec![7; 50]);
    write(&prefix, &BTreeMap::from([("part".to_owned(), part)]));
    let extent = |start| tfod_proto::tensor_slice_proto::Extent {
        start,
        has_length: Some(tfod_proto::tensor_slice_proto::extent::HasLength::Length(
            50,
        )),
    };
    change_index(&prefix, |pairs| {
        let value = pairs[&b"part"[..]].clone();
        let mut whole = value.clone();
        change_entry(&mut whole, |entry| {
            entry.shape.as_mut().unwrap().dim[0].size = 100;
            entry.slices = [0, 50]
                .map(|start| tfod_proto::TensorSliceProto {
                    extent: vec![extent(start)],
                })
                .to_vec();
        });
        pairs.insert(b"whole".to_vec(), whole);
        // The keys of the parts 0..50 and 50..100.
        pairs.insert(b"\0whole\0\x01\x01\x01\x80\xb2".to_vec(), value.clone());
        pairs.insert(b"\0whole\0\x01\x01\x01\xb2\xb2".to_vec(), value);
    });
    let bundle = Bundle::open(&prefix).unwrap();
    let error = bundle.tensor("whole").unwrap_err();
    assert!(
        matches!(
            error,
            Error::Entry {
                problem: EntryProblem::LargerThanFiles,
                ..
            }
        ),
        "{error}"
    );
}

/// A tensor as the writer takes it.
#[derive(Clone, Debug)]
enum Value {
    Bytes(DType, Vec<usize>, Vec<u8>),
    Strings(Vec<usize>, Vec<Vec<u8>>),
}

fn value() -> impl Strategy<Value = Value> {
    let numeric: Vec<DType> = DType::ALL
        .iter()
        .copied()
        .filter(|dtype| dtype.size().is_some())
        .collect();
    let shape = || vec(0usize..4, 0..4);
    let bytes = (prop::sample::select(numeric), shape()).prop_flat_map(|(dtype, shape)| {
        let size = shape.iter().product::<usize>() * dtype.size().unwrap();
        vec(any::<u8>(), size).prop_map(move |bytes| Value::Bytes(dtype, shape.clone(), bytes))
    });
    let strings = shape().prop_flat_map(|shape| {
        let count = shape.iter().product::<usize>();
        vec(vec(any::<u8>(), 0..200), count)
            .prop_map(move |strings| Value::Strings(shape.clone(), strings))
    });
    prop_oneof![3 => bytes, 1 => strings]
}

fn values() -> impl Strategy<Value = BTreeMap<String, Value>> {
    btree_map("[a-c/.é]{1,8}", value(), 0..30)
}

fn write(prefix: &Path, values: &BTreeMap<String, Value>) {
    let mut writer = BundleWriter::create(prefix).unwrap();
    for (key, value) in values {
        match value {
            Value::Bytes(dtype, shape, bytes) => writer.add(key, *dtype, shape, bytes).unwrap(),
            Value::Strings(shape, strings) => writer.add_strings(key, shape, strings).unwrap(),
        }
    }
    writer.finish_files().unwrap();
}

/// All tensors that can be read, by key.
fn read_what_can_be(bundle: &Bundle) -> BTreeMap<String, Result<Vec<Vec<u8>>, Error>> {
    let read = |key: &str, dtype| match dtype {
        DType::String => Ok(bundle
            .strings(key)?
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect()),
        _ => Ok(vec![bundle.tensor(key)?.bytes.into_owned()]),
    };
    bundle
        .entries()
        .map(|entry| (entry.key().to_owned(), read(entry.key(), entry.dtype())))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read(values in values()) {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("x");
        write(&prefix, &values);
        let bundle = Bundle::open(prefix).unwrap();
        prop_assert_eq!(bundle.entries().len(), values.len());
        for (key, value) in &values {
            match value {
                Value::Bytes(dtype, shape, bytes) => {
                    let tensor = bundle.tensor(key).unwrap();
                    prop_assert_eq!((tensor.dtype, tensor.shape, &*tensor.bytes), (*dtype, &**shape, &**bytes));
                }
                Value::Strings(shape, strings) => {
                    prop_assert_eq!(bundle.get(key).unwrap().shape(), &**shape);
                    prop_assert_eq!(&bundle.strings(key).unwrap(), strings);
                }
            }
        }
    }

    /// Each byte of a data shard belongs to one tensor, and exactly that one is refused when it changes.
    #[test]
    fn a_changed_byte_of_data_is_noticed_in_its_tensor(
        values in values(), at: prop::sample::Index, flip in 1u8..
    ) {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("x");
        write(&prefix, &values);
        let shard = shard_path(&prefix, 0, 1);
        let mut data = fs::read(&shard).unwrap();
        prop_assume!(!data.is_empty());
        let at = at.index(data.len());
        data[at] ^= flip;
        fs::write(&shard, data).unwrap();
        let bundle = Bundle::open(prefix).unwrap();
        for (key, result) in read_what_can_be(&bundle) {
            let is_hit = bundle.get(&key).unwrap().range().contains(&at);
            prop_assert_eq!(result.is_err(), is_hit, "{}: {:?}", &key, &result);
            if let Err(error) = result {
                let quoted = format!("`{key}`");
                prop_assert!(error.to_string().contains(&quoted));
            }
        }
    }

    #[test]
    fn a_changed_or_lost_byte_of_the_index_is_noticed(at: prop::sample::Index, flip in 1u8.., cut: bool) {
        let (_folder, prefix) = copy_of("training/ckpt-1");
        let path = index_path(&prefix);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        fs::write(&path, bytes).unwrap();
        prop_assert!(Bundle::open(prefix).is_err());
    }

    /// With checksums that match, so that what lies behind them is reached.
    #[test]
    fn arbitrary_entries_never_panic(
        value in vec(any::<u8>(), 0..40), key in prop::sample::select(vec!["rows", "quarters", "\0rows", ""])
    ) {
        let (_folder, prefix) = copy_of("partitioned/vars");
        change_index(&prefix, |pairs| drop(pairs.insert(key.as_bytes().to_vec(), value)));
        if let Ok(bundle) = Bundle::open(prefix) {
            read_what_can_be(&bundle);
        }
    }

    #[test]
    fn arbitrary_changes_to_an_entry_never_panic(
        dtype in 0i32..31, dims in vec(-1i64..70, 0..4), size in 0i64..700, offset in 0i64..700,
        key in prop::sample::select(vec!["strings", "scalar", "complex128", "one_string"])
    ) {
        let (_folder, prefix) = copy_of("types/vars");
        change_index(&prefix, |pairs| change_entry(pairs.get_mut(key.as_bytes()).unwrap(), |entry| {
            entry.dtype = dtype;
            let dim = |size| tfod_proto::tensor_shape_proto::Dim { size, name: String::new() };
            entry.shape.get_or_insert_default().dim = dims.into_iter().map(dim).collect();
            entry.size = size;
            entry.offset = offset;
        }));
        if let Ok(bundle) = Bundle::open(prefix) {
            read_what_can_be(&bundle);
        }
    }
}

#[test]
fn a_writer_refuses_what_does_not_fit() {
    let mut writer = BundleWriter::new(Vec::new(), Vec::new()).unwrap();
    writer.add("b", DType::Int16, &[2, 2], &[0; 8]).unwrap();
    assert!(matches!(
        writer.add("c", DType::Int16, &[2, 2], &[0; 7]),
        Err(Error::WrongSize { .. })
    ));
    assert!(matches!(
        writer.add("c", DType::String, &[], &[0; 7]),
        Err(Error::WrongSize { .. })
    ));
    assert!(matches!(
        writer.add_strings("c", &[2], &["one"]),
        Err(Error::WrongSize { .. })
    ));
    assert!(matches!(
        writer.add("a", DType::Int8, &[], &[0]),
        Err(Error::KeyOrder { .. })
    ));
}

#[test]
fn a_full_disk_is_reported_with_the_tensor() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut writer = BundleWriter::new(Full, Vec::new()).unwrap();
    let error = writer.add("kernel", DType::Int8, &[1], &[0]).unwrap_err();
    assert!(
        matches!(&error, Error::Write { problem, .. } if problem.kind() == std::io::ErrorKind::StorageFull)
    );
    assert!(error.to_string().contains("`kernel`"), "{error}");
}

/// Many handles to one large block of no entries would have it verified for each of them.
#[test]
fn blocks_that_overlap_are_refused() {
    fn masked(bytes: &[u8]) -> [u8; 4] {
        let sum = crc32c::crc32c(bytes).rotate_right(15);
        sum.wrapping_add(0xa282_ead8).to_le_bytes()
    }
    /// Appends a block of these contents, and gives its handle. All numbers are below 128, so that each is one byte.
    fn block(table: &mut Vec<u8>, contents: &[u8]) -> [u8; 2] {
        let start = table.len();
        table.extend(contents);
        table.push(0);
        let sum = masked(&table[start..]);
        table.extend(sum);
        [start, contents.len()].map(|n| u8::try_from(n).unwrap())
    }
    let empty = [0, 0, 0, 0];
    let mut table = Vec::new();
    let metaindex = block(&mut table, &empty);
    let data = block(&mut table, &empty);
    let entry = |key: u8| [0, 1, 2, key, data[0], data[1]];
    let index = block(
        &mut table,
        &[&entry(b'a')[..], &entry(b'b'), &empty].concat(),
    );
    let mut footer = [metaindex, index].concat();
    footer.resize(40, 0);
    table.extend(footer);
    table.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());

    let error = Table::open(Path::new("x"), &table)
        .unwrap()
        .for_each(|_, _| Ok(()))
        .unwrap_err();
    assert!(error.to_string().contains("overlap"), "{error}");
}

#[test]
fn reading_twice_gives_the_same() {
    let bundle = Bundle::open(fixture("training/ckpt-1")).unwrap();
    assert_eq!(rows(&bundle), rows(&bundle));
}
