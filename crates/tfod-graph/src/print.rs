//! The text form: one line a node, for snapshots and for reading. It shows everything but the contents of large constants,
//! for which a digest stands.
//!
//! ```text
//! graph example
//! inputs
//!   input: u8[1, height, width, 3]
//! nodes
//!   as_float: f32[1, height, width, 3] = cast(input)
//!   resized: f32[1, 8, 8, 3] = resize(as_float) method=bilinear size=[8, 8] half_pixel_centers=false
//! outputs
//!   image = resized
//! ```

use std::fmt::{self, Write as _};

use crate::graph::{Graph, Node, Value, ValueId};
use crate::op::{ConvAttrs, MapInput, Op, PixelGrid, PoolAttrs};
use crate::tensor::{DType, Shape, Tensor};

/// Constants of up to this many elements are printed in full.
const SHOWN_ELEMENTS: usize = 8;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_graph(f, self, "")
    }
}

fn write_graph(f: &mut dyn fmt::Write, graph: &Graph, indent: &str) -> fmt::Result {
    writeln!(f, "{indent}graph {}", graph.name)?;
    writeln!(f, "{indent}inputs")?;
    for &input in graph.inputs() {
        let value = graph.value(input);
        writeln!(f, "{indent}  {}: {}", graph.name_of(input), typed(value))?;
    }
    if !graph.parameters.is_empty() {
        writeln!(f, "{indent}parameters")?;
    }
    for (_, parameter) in graph.parameters() {
        let (dtype, shape) = (parameter.dtype, &parameter.shape);
        let frozen = if parameter.trainable {
            ""
        } else {
            " (statistic)"
        };
        let path = parameter.path.join("/");
        writeln!(
            f,
            "{indent}  @{}: {dtype}{shape:?}{frozen} <- {path}",
            parameter.name
        )?;
    }
    writeln!(f, "{indent}nodes")?;
    for node in &graph.nodes {
        if !matches!(node.op, Op::Input | Op::Parameter(_)) {
            write_node(f, graph, node, indent)?;
        }
    }
    writeln!(f, "{indent}outputs")?;
    for output in graph.outputs() {
        writeln!(
            f,
            "{indent}  {} = {}",
            output.key,
            reference(graph, output.value)
        )?;
    }
    if let Some(ending) = graph.ending() {
        let results = ending.results.all().into_iter().flatten();
        let results: Vec<String> = results.map(|value| reference(graph, value)).collect();
        write!(
            f,
            "{indent}ending\n{indent}  {} = decode_and_suppress({}, {}) ",
            results.join(", "),
            reference(graph, ending.encodings),
            reference(graph, ending.scores)
        )?;
        ending.write(f)?;
        writeln!(f)?;
    }
    Ok(())
}

fn write_node(f: &mut dyn fmt::Write, graph: &Graph, node: &Node, indent: &str) -> fmt::Result {
    // What follows from the number of results says nothing new: one type is enough where all are alike.
    let types: Vec<String> = node
        .outputs
        .iter()
        .map(|v| typed(graph.value(*v)))
        .collect();
    let types = match types.as_slice() {
        [first, rest @ ..] if rest.len() > 2 && rest.iter().all(|t| t == first) => {
            format!("{} x {first}", types.len())
        }
        _ => types.join(", "),
    };
    let inputs: Vec<String> = node.inputs.iter().map(|v| reference(graph, *v)).collect();
    write!(
        f,
        "{indent}  {}: {types} = {}({}){}",
        node.name,
        node.op.mnemonic(),
        inputs.join(", "),
        attributes(&node.op)
    )?;
    f.write_char('\n')?;
    if let Op::Map { body, .. } = &node.op {
        write_graph(f, body, &format!("{indent}    "))?;
    }
    Ok(())
}

fn typed(value: &Value) -> String {
    format!("{}{}", value.dtype, value.shape)
}

/// How a value is written where it is used: `node`, `node:1` for a later output, `@name` for a parameter.
fn reference(graph: &Graph, id: ValueId) -> String {
    let value = graph.value(id);
    let node = graph.node(value.node);
    match node.op {
        Op::Parameter(id) => format!("@{}", graph.parameter(id).name),
        _ if value.output == 0 => node.name.clone(),
        _ => format!("{}:{}", node.name, value.output),
    }
}

fn conv(attrs: ConvAttrs) -> String {
    let mut text =
        format!(" strides={:?} padding={:?}", attrs.strides, attrs.padding).to_lowercase();
    if attrs.dilations != [1; 2] {
        let _ = write!(text, " dilations={:?}", attrs.dilations);
    }
    text
}

fn pool(attrs: PoolAttrs) -> String {
    let PoolAttrs {
        window,
        strides,
        padding,
    } = attrs;
    format!(" window={window:?} strides={strides:?} padding={padding:?}").to_lowercase()
}

fn attributes(op: &Op) -> String {
    match op {
        Op::Constant(tensor) => format!(" {}", constant(tensor)),
        Op::Conv2d(attrs) | Op::DepthwiseConv2d(attrs) => conv(*attrs),
        Op::MaxPool(attrs) | Op::AveragePool(attrs) => pool(*attrs),
        Op::BatchNorm { epsilon } => format!(" epsilon={epsilon}"),
        Op::ConvTranspose2d { stride } => format!(" stride={stride}"),
        Op::Pad(paddings) => format!(" {paddings:?}"),
        Op::PadEnd(dims) => format!(" to={}", Shape(dims.clone())),
        Op::Resize {
            method,
            size: [height, width],
            grid,
        } => {
            let method = format!("{method:?}").to_lowercase();
            let grid = match grid {
                PixelGrid::Corners => "half_pixel_centers=false",
                PixelGrid::Centers => "half_pixel_centers=true",
                PixelGrid::AlignedCorners => "align_corners=true",
            };
            format!(" method={method} size=[{height}, {width}] {grid}")
        }
        Op::CropAndResize { height, width } => format!(" size=[{height}, {width}]"),
        Op::Transpose(order) => format!(" order={order:?}"),
        Op::Concat { axis } | Op::Unstack { axis } | Op::Stack { axis } | Op::ArgMax { axis } => {
            format!(" axis={axis}")
        }
        Op::Gather { batch_dims } if *batch_dims > 0 => format!(" batch_dims={batch_dims}"),
        Op::Slice(ranges) => {
            let range = |r: &Option<(u64, u64)>| match r {
                Some((begin, size)) => format!("{begin}..{}", begin.saturating_add(*size)),
                None => String::from(".."),
            };
            let ranges: Vec<String> = ranges.iter().map(range).collect();
            format!(" [{}]", ranges.join(", "))
        }
        Op::Reduce { axes, .. } => format!(" axes={axes:?}"),
        Op::ExampleFeature { key } => format!(" key={key}"),
        Op::TopK { k } => format!(" k={k}"),
        Op::NonMaxSuppression(attrs) => format!(
            " max_output_size={} iou_threshold={} score_threshold={}",
            attrs.max_output_size, attrs.iou_threshold, attrs.score_threshold
        ),
        Op::SoftNonMaxSuppression(attrs) => format!(
            " max_output_size={} score_threshold={} sigma={}",
            attrs.max_output_size, attrs.score_threshold, attrs.sigma
        ),
        Op::Map { inputs, .. } => {
            let sliced = inputs.iter().filter(|i| **i == MapInput::Sliced).count();
            format!(" sliced={sliced}/{}", inputs.len())
        }
        Op::Input
        | Op::Parameter(_)
        | Op::GlobalAveragePool
        | Op::BiasAdd
        | Op::MatMul
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::And
        | Op::Select
        | Op::Softmax
        | Op::Cast(_)
        | Op::Reshape(_)
        | Op::Gather { .. }
        | Op::ShapeOf
        | Op::Range(_)
        | Op::DecodeImage { .. } => String::new(),
    }
}

fn constant(tensor: &Tensor) -> String {
    let size = tensor.dtype().size();
    if size.is_none_or(|size| tensor.data().len() > SHOWN_ELEMENTS * size) {
        return format!("#{:016x}", fnv1a(tensor.data()));
    }
    match tensor.dtype() {
        DType::F32 => format!("{:?}", tensor.to_f32().unwrap_or_default()),
        DType::I32 => format!("{:?}", tensor.to_i32().unwrap_or_default()),
        DType::I64 | DType::U8 | DType::Bool | DType::String => format!("{:?}", tensor.data()),
    }
}

/// FNV-1a: enough to see in a snapshot that a constant changed.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
