//! Small files of every format, written byte by byte, so that what a reader finds can be compared with what was written.

use std::fs;
use std::path::{Path, PathBuf};

use tfod_checkpoint::{BundleWriter, DType};

/// A folder that goes with the test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A checkpoint of float tensors.
    pub(crate) fn checkpoint(&self, prefix: &str, tensors: &[(&str, &[u64], &[f32])]) -> PathBuf {
        let path = self.path(prefix);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut tensors = tensors.to_vec();
        tensors.sort_by_key(|(name, ..)| *name);
        let mut writer = BundleWriter::create(&path).unwrap();
        for (name, shape, values) in tensors {
            let shape: Vec<usize> = shape.iter().map(|n| usize::try_from(*n).unwrap()).collect();
            writer
                .add(name, DType::Float32, &shape, &floats(values))
                .unwrap();
        }
        writer.finish_files().unwrap();
        path
    }
}

pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A message being written: fields in the order in which they are added.
#[derive(Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn varint(mut self, number: u32, value: u64) -> Self {
        self.raw_varint(u64::from(number) << 3);
        self.raw_varint(value);
        self
    }

    pub(crate) fn bytes(mut self, number: u32, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.raw_varint(u64::from(number) << 3 | 2);
        self.raw_varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn message(self, number: u32, message: Message) -> Self {
        self.bytes(number, message.0)
    }

    pub(crate) fn messages(self, number: u32, messages: impl IntoIterator<Item = Message>) -> Self {
        messages
            .into_iter()
            .fold(self, |all, one| all.message(number, one))
    }
}

/// TensorFlow's messages.
pub(crate) mod tensorflow {
    use super::Message;

    pub(crate) const FLOAT: u64 = 1;
    pub(crate) const UINT8: u64 = 4;

    pub(crate) fn shape(dims: &[i64]) -> Message {
        let dims = dims
            .iter()
            .map(|size| Message::new().varint(1, size.cast_unsigned()));
        Message::new().messages(2, dims)
    }

    pub(crate) fn tensor(dtype: u64, dims: &[i64]) -> Message {
        Message::new().varint(1, dtype).message(2, shape(dims))
    }

    pub(crate) fn node(name: &str, op: &str, inputs: &[&str]) -> Message {
        let node = Message::new().bytes(1, name).bytes(2, op);
        inputs.iter().fold(node, |node, input| node.bytes(3, input))
    }

    pub(crate) fn attr(node: Message, name: &str, value: Message) -> Message {
        node.message(5, Message::new().bytes(1, name).message(2, value))
    }

    pub(crate) fn constant(name: &str, tensor: Message) -> Message {
        let node = attr(
            node(name, "Const", &[]),
            "dtype",
            Message::new().varint(6, FLOAT),
        );
        attr(node, "value", Message::new().message(8, tensor))
    }

    pub(crate) fn float_constant(name: &str, dims: &[i64], values: &[f32]) -> Message {
        constant(name, tensor(FLOAT, dims).bytes(4, super::floats(values)))
    }

    pub(crate) fn placeholder(name: &str, dtype: u64, dims: &[i64]) -> Message {
        let node = attr(
            node(name, "Placeholder", &[]),
            "dtype",
            Message::new().varint(6, dtype),
        );
        attr(node, "shape", Message::new().message(7, shape(dims)))
    }

    pub(crate) fn identity(name: &str, input: &str) -> Message {
        attr(
            node(name, "Identity", &[input]),
            "T",
            Message::new().varint(6, FLOAT),
        )
    }

    pub(crate) fn graph(nodes: Vec<Message>) -> Message {
        let versions = Message::new().varint(1, 1645).varint(2, 12);
        Message::new().messages(1, nodes).message(4, versions)
    }

    /// A tensor of a signature: key, tensor, type, shape.
    pub(crate) type Port<'a> = (&'a str, &'a str, u64, &'a [i64]);

    /// An entry of a map of signature tensors.
    fn port((key, tensor, dtype, dims): &Port<'_>) -> Message {
        let info = Message::new()
            .bytes(1, tensor)
            .varint(2, *dtype)
            .message(3, shape(dims));
        Message::new().bytes(1, key).message(2, info)
    }

    /// A SavedModel with one signature.
    pub(crate) fn saved_model(
        graph: Message,
        inputs: &[Port<'_>],
        outputs: &[Port<'_>],
    ) -> Message {
        let signature = Message::new()
            .messages(1, inputs.iter().map(port))
            .messages(2, outputs.iter().map(port))
            .bytes(3, "tensorflow/serving/predict");
        let about = Message::new().bytes(4, "serve").bytes(5, "2.15.1");
        let meta = Message::new().message(1, about).message(2, graph).message(
            5,
            Message::new()
                .bytes(1, "serving_default")
                .message(2, signature),
        );
        Message::new().varint(1, 1).message(2, meta)
    }
}

/// ONNX's messages.
pub(crate) mod onnx {
    use super::Message;

    pub(crate) const FLOAT: u64 = 1;
    #[cfg(feature = "run")]
    pub(crate) const INT64: u64 = 7;

    pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Message {
        let node = inputs
            .iter()
            .fold(Message::new(), |node, input| node.bytes(1, input));
        outputs
            .iter()
            .fold(node, |node, output| node.bytes(2, output))
            .bytes(4, op)
    }

    pub(crate) fn initializer(name: &str, dims: &[u64], values: &[f32]) -> Message {
        tensor(name, dims).bytes(9, super::floats(values))
    }

    pub(crate) fn tensor(name: &str, dims: &[u64]) -> Message {
        let tensor = dims
            .iter()
            .fold(Message::new(), |tensor, size| tensor.varint(1, *size));
        tensor.varint(2, FLOAT).bytes(8, name)
    }

    pub(crate) fn external(tensor: Message, location: &str, offset: &str, length: &str) -> Message {
        let entry = |key: &str, value: &str| Message::new().bytes(1, key).bytes(2, value);
        tensor
            .message(13, entry("location", location))
            .message(13, entry("offset", offset))
            .message(13, entry("length", length))
            .varint(14, 1)
    }

    /// A value of unknown first dimension.
    pub(crate) fn value(name: &str, dtype: u64, rest: &[u64]) -> Message {
        let batch = Message::new().bytes(2, "batch");
        let dims = rest.iter().map(|size| Message::new().varint(1, *size));
        typed(
            name,
            dtype,
            Message::new().message(1, batch).messages(1, dims),
        )
    }

    /// A value without an open batch.
    #[cfg(feature = "run")]
    pub(crate) fn fixed(name: &str, dtype: u64, sizes: &[u64]) -> Message {
        let dims = sizes.iter().map(|size| Message::new().varint(1, *size));
        typed(name, dtype, Message::new().messages(1, dims))
    }

    fn typed(name: &str, dtype: u64, shape: Message) -> Message {
        let tensor = Message::new().varint(1, dtype).message(2, shape);
        Message::new()
            .bytes(1, name)
            .message(2, Message::new().message(1, tensor))
    }

    pub(crate) fn model(graph: Message) -> Message {
        Message::new()
            .varint(1, 8)
            .bytes(2, "test")
            .bytes(3, "1.2")
            .message(7, graph)
            .message(8, Message::new().bytes(1, "").varint(2, 17))
            .message(14, Message::new().bytes(1, "num_classes").bytes(2, "3"))
    }
}

/// Copies a file of the shipped example.
pub(crate) fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/shapes")
        .join(file)
}
