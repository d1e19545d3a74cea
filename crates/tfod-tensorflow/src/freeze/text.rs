//! The frozen graph as protobuf text, what `tf.io.write_graph` writes by default.
//!
//! One node after the other is decoded and printed; weights are escaped on their way from file to output.

use std::fmt::Write as _;
use std::io::{self, Write};

use tfod_proto::attr_value::{ListValue, Value};
use tfod_proto::prost::Message;
use tfod_proto::{AttrValue, DataType, NameAttrList, TensorProto, TensorShapeProto};

use super::error::FreezeError;
use super::frozen::{Frozen, Listing};
use super::graph::{Graph, NodeId};

type Result<T> = std::result::Result<T, FreezeError>;

/// Lines with their indentation.
struct Printer<'w, W: Write> {
    out: &'w mut W,
    depth: usize,
}

impl<W: Write> Printer<'_, W> {
    fn line(&mut self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        writeln!(self.out, "{:indent$}{text}", "", indent = self.depth * 2)
    }

    fn field(&mut self, name: &str, value: impl std::fmt::Display) -> io::Result<()> {
        self.line(format_args!("{name}: {value}"))
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.field(name, format_args!("\"{}\"", Escaped(bytes)))
    }

    fn message(
        &mut self,
        name: &str,
        inner: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        self.line(format_args!("{name} {{"))?;
        self.depth += 1;
        inner(self)?;
        self.depth -= 1;
        self.line(format_args!("}}"))
    }

    fn attr(&mut self, name: &str, value: &AttrValue) -> io::Result<()> {
        self.message("attr", |p| {
            p.bytes("key", name.as_bytes())?;
            p.message("value", |p| p.value(value))
        })
    }

    fn value(&mut self, value: &AttrValue) -> io::Result<()> {
        match &value.value {
            None => Ok(()),
            Some(Value::List(list)) => self.message("list", |p| p.list(list)),
            Some(Value::S(bytes)) => self.bytes("s", bytes),
            Some(Value::I(number)) => self.field("i", number),
            Some(Value::F(number)) => self.field("f", Float(f64::from(*number), number)),
            Some(Value::B(flag)) => self.field("b", flag),
            Some(Value::Type(data_type)) => self.field("type", type_name(*data_type)),
            Some(Value::Shape(shape)) => self.message("shape", |p| p.shape(shape)),
            Some(Value::Tensor(tensor)) => self.message("tensor", |p| p.tensor(tensor)),
            Some(Value::Placeholder(name)) => self.bytes("placeholder", name.as_bytes()),
            Some(Value::Func(function)) => self.message("func", |p| p.function(function)),
        }
    }

    fn list(&mut self, list: &ListValue) -> io::Result<()> {
        list.s.iter().try_for_each(|bytes| self.bytes("s", bytes))?;
        list.i
            .iter()
            .try_for_each(|number| self.field("i", number))?;
        list.f
            .iter()
            .try_for_each(|number| self.field("f", Float(f64::from(*number), number)))?;
        list.b.iter().try_for_each(|flag| self.field("b", flag))?;
        list.r#type
            .iter()
            .try_for_each(|data_type| self.field("type", type_name(*data_type)))?;
        list.shape
            .iter()
            .try_for_each(|shape| self.message("shape", |p| p.shape(shape)))?;
        list.tensor
            .iter()
            .try_for_each(|tensor| self.message("tensor", |p| p.tensor(tensor)))?;
        list.func
            .iter()
            .try_for_each(|function| self.message("func", |p| p.function(function)))
    }

    fn function(&mut self, function: &NameAttrList) -> io::Result<()> {
        self.bytes("name", function.name.as_bytes())?;
        function
            .attr
            .iter()
            .try_for_each(|(name, value)| self.attr(name, value))
    }

    fn shape(&mut self, shape: &TensorShapeProto) -> io::Result<()> {
        for dim in &shape.dim {
            self.message("dim", |p| {
                if dim.size != 0 {
                    p.field("size", dim.size)?;
                }
                if dim.name.is_empty() {
                    Ok(())
                } else {
                    p.bytes("name", dim.name.as_bytes())
                }
            })?;
        }
        if shape.unknown_rank {
            self.field("unknown_rank", true)
        } else {
            Ok(())
        }
    }

    fn tensor_head(&mut self, data_type: i32, shape: &TensorShapeProto) -> io::Result<()> {
        self.field("dtype", type_name(data_type))?;
        self.message("tensor_shape", |p| p.shape(shape))
    }

    fn tensor(&mut self, tensor: &TensorProto) -> io::Result<()> {
        self.tensor_head(
            tensor.dtype,
            tensor
                .tensor_shape
                .as_ref()
                .unwrap_or(&TensorShapeProto::default()),
        )?;
        if !tensor.tensor_content.is_empty() {
            self.bytes("tensor_content", &tensor.tensor_content)?;
        }
        let float = |number: &f32| Float(f64::from(*number), *number);
        tensor
            .half_val
            .iter()
            .try_for_each(|number| self.field("half_val", number))?;
        tensor
            .float_val
            .iter()
            .try_for_each(|number| self.field("float_val", float(number)))?;
        tensor
            .double_val
            .iter()
            .try_for_each(|number| self.field("double_val", Float(*number, number)))?;
        tensor
            .int_val
            .iter()
            .try_for_each(|number| self.field("int_val", number))?;
        tensor
            .string_val
            .iter()
            .try_for_each(|bytes| self.bytes("string_val", bytes))?;
        tensor
            .scomplex_val
            .iter()
            .try_for_each(|number| self.field("scomplex_val", float(number)))?;
        tensor
            .int64_val
            .iter()
            .try_for_each(|number| self.field("int64_val", number))?;
        tensor
            .bool_val
            .iter()
            .try_for_each(|flag| self.field("bool_val", flag))?;
        tensor
            .dcomplex_val
            .iter()
            .try_for_each(|number| self.field("dcomplex_val", Float(*number, number)))?;
        tensor
            .uint32_val
            .iter()
            .try_for_each(|number| self.field("uint32_val", number))?;
        tensor
            .uint64_val
            .iter()
            .try_for_each(|number| self.field("uint64_val", number))
    }
}

/// A number as protobuf's text format has it: the shortest text that reads back the same.
struct Float<T>(f64, T);

impl<T: std::fmt::Debug> std::fmt::Display for Float<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(value, shortest) = self;
        match value {
            _ if value.is_nan() => f.write_str("nan"),
            _ if value.is_infinite() => f.write_str(if *value > 0.0 { "inf" } else { "-inf" }),
            _ => write!(f, "{shortest:?}"),
        }
    }
}

/// Bytes between quotation marks.
struct Escaped<'b>(&'b [u8]);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Piece by piece, since a formatter is slow per call.
        let mut text = String::with_capacity(4 * 1024);
        for piece in self.0.chunks(1024) {
            text.clear();
            for &byte in piece {
                match byte {
                    b'\n' => text.push_str("\\n"),
                    b'"' => text.push_str("\\\""),
                    b'\\' => text.push_str("\\\\"),
                    0x20..=0x7e => text.push(byte.into()),
                    _ => write!(text, "\\{byte:03o}")?,
                }
            }
            f.write_str(&text)?;
        }
        Ok(())
    }
}

fn type_name(data_type: i32) -> String {
    DataType::try_from(data_type).map_or_else(
        |_| data_type.to_string(),
        |known| known.as_str_name().to_owned(),
    )
}

impl Frozen<'_> {
    /// Writes the graph in protobuf's text format. It has the same content as the binary form, and takes about 2.6 times the space.
    ///
    /// # Errors
    ///
    /// As [`Self::write_binary`]: the same limit applies, since readers turn the text into a message.
    pub fn write_text(&self, out: &mut impl Write) -> Result<()> {
        self.check_size()?;
        let mut printer = Printer { out, depth: 0 };
        for &id in &self.listing.order {
            self.print_node("node", &self.graph, &self.listing, id, &mut printer)?;
        }
        if !self.functions.is_empty() {
            self.print_library(&mut printer)?;
        }
        let (producer, has_library) = (self.producer, !self.functions.is_empty());
        printer.message("versions", |p| {
            if producer > 0 {
                p.field("producer", producer)?;
            }
            if has_library {
                p.field("min_consumer", super::wire::MIN_CONSUMER)
            } else {
                Ok(())
            }
        })?;
        self.store.check_lengths()
    }

    fn print_library<W: Write>(&self, printer: &mut Printer<'_, W>) -> Result<()> {
        printer.line(format_args!("library {{"))?;
        printer.depth += 1;
        for (function, listing) in &self.functions {
            printer.line(format_args!("function {{"))?;
            printer.depth += 1;
            let head =
                tfod_proto::FunctionDef::decode(Self::function_head(function, listing)?.as_slice());
            let head = head.map_err(|problem| io::Error::other(problem.to_string()))?;
            let signature = head.signature.unwrap_or_default();
            printer.message("signature", |p| {
                p.bytes("name", signature.name.as_bytes())?;
                for (kind, arguments) in [
                    ("input_arg", &signature.input_arg),
                    ("output_arg", &signature.output_arg),
                ] {
                    for argument in arguments {
                        p.message(kind, |p| {
                            p.bytes("name", argument.name.as_bytes())?;
                            p.field("type", type_name(argument.r#type))
                        })?;
                    }
                }
                if signature.is_stateful {
                    p.field("is_stateful", true)?;
                }
                signature
                    .control_output
                    .iter()
                    .try_for_each(|control| p.bytes("control_output", control.as_bytes()))
            })?;
            for &id in &listing.order {
                self.print_node("node_def", &function.graph, listing, id, printer)?;
            }
            for (kind, map) in [("ret", &head.ret), ("control_ret", &head.control_ret)] {
                for (key, value) in map {
                    printer.message(kind, |p| {
                        p.bytes("key", key.as_bytes())?;
                        p.bytes("value", value.as_bytes())
                    })?;
                }
            }
            printer.depth -= 1;
            printer.line(format_args!("}}"))?;
        }
        printer.depth -= 1;
        printer.line(format_args!("}}"))?;
        Ok(())
    }

    fn print_node<W: Write>(
        &self,
        field: &str,
        graph: &Graph<'_>,
        listing: &Listing,
        id: NodeId,
        printer: &mut Printer<'_, W>,
    ) -> Result<()> {
        let node = graph.node(id);
        let inputs = listing.inputs(graph, id)?;
        printer.line(format_args!("{field} {{"))?;
        printer.depth += 1;
        printer.bytes("name", listing.name(id).as_bytes())?;
        printer.bytes("op", node.op.as_bytes())?;
        for input in &inputs {
            printer.bytes("input", input.as_bytes())?;
        }
        for (name, value) in &node.attrs {
            let value = AttrValue::decode(&**value)
                .map_err(|problem| io::Error::other(problem.to_string()))?;
            printer.attr(name, &value)?;
        }
        if let Some(content) = &node.content {
            let dtype = AttrValue {
                value: Some(Value::Type(content.data_type())),
            };
            printer.attr("dtype", &dtype)?;
            self.print_constant(content, printer)?;
        }
        printer.depth -= 1;
        printer.line(format_args!("}}"))?;
        Ok(())
    }

    fn print_constant<W: Write>(
        &self,
        content: &super::constants::Content<'_>,
        printer: &mut Printer<'_, W>,
    ) -> Result<()> {
        for line in ["attr {", "key: \"value\"", "value {", "tensor {"] {
            printer.line(format_args!("{line}"))?;
            printer.depth += usize::from(line.ends_with('{'));
        }
        if self.store.is_streamed(content) {
            let size = |&size: &usize| tfod_proto::tensor_shape_proto::Dim {
                size: i64::try_from(size).unwrap_or(i64::MAX),
                name: String::new(),
            };
            let dim = self.store.shape(content).iter().map(size).collect();
            printer.tensor_head(
                content.data_type(),
                &TensorShapeProto {
                    dim,
                    unknown_rank: false,
                },
            )?;
            write!(
                printer.out,
                "{:indent$}tensor_content: \"",
                "",
                indent = printer.depth * 2
            )?;
            self.store.stream(content, &mut |chunk| {
                write!(printer.out, "{}", Escaped(chunk))
            })?;
            writeln!(printer.out, "\"")?;
        } else {
            let mut bytes = Vec::new();
            self.store.write_tensor(content, &mut bytes)?;
            let tensor = TensorProto::decode(bytes.as_slice())
                .map_err(|problem| io::Error::other(problem.to_string()))?;
            printer.tensor(&tensor)?;
        }
        for _ in 0..3 {
            printer.depth -= 1;
            printer.line(format_args!("}}"))?;
        }
        Ok(())
    }
}
