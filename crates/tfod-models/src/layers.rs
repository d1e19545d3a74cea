//! The Keras layers that the reference's detectors are made of, for inference.
//!
//! A layer's variables are found by the layer's path in the reference's object tree, and have Keras' names below it: `kernel`,
//! `depthwise_kernel`, `pointwise_kernel`, `bias`, `gamma`, `beta`, `moving_mean`, `moving_variance`.

use std::rc::Rc;

use tfod_graph::{Builder, Built, ConvAttrs, Padding, ParameterSpec, Tensor, ValueId};

use crate::hyperparams::{BatchNorm, Hyperparams};

/// Where a layer is in the reference's object tree: attribute names and list positions, from the detection model down. Paths share their beginnings, since a large
/// network has thousands of layers, and the search for causes of a misfit writes many networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Rc<Step>);

#[derive(Debug, PartialEq, Eq)]
struct Step {
    name: String,
    parent: Option<Path>,
}

impl Path {
    /// From a slash-separated text.
    pub fn new(path: &str) -> Self {
        let (parent, name) = match path.rsplit_once('/') {
            Some((parent, name)) => (Some(Self::new(parent)), name),
            None => (None, path),
        };
        Self::step(parent, name.to_owned())
    }

    /// A named or numbered child.
    #[must_use]
    pub fn child(&self, name: impl ToString) -> Self {
        Self::step(Some(self.clone()), name.to_string())
    }

    fn step(parent: Option<Self>, name: String) -> Self {
        Self(Rc::new(Step { name, parent }))
    }

    /// The names from the detection model to a child.
    fn names_to(&self, child: &str) -> Vec<String> {
        let mut names = vec![child.to_owned()];
        let mut path = Some(self);
        while let Some(Self(step)) = path {
            names.push(step.name.clone());
            path = step.parent.as_ref();
        }
        names.reverse();
        names
    }
}

/// The channels of a feature map.
pub(crate) fn channels(b: &Builder, x: ValueId) -> u64 {
    let last = b.shape(x).dims().last();
    last.and_then(tfod_graph::Dim::known).unwrap_or_default()
}

/// A variable of a layer, by Keras' name for it.
pub(crate) fn variable(
    b: &mut Builder,
    path: &Path,
    name: &str,
    shape: &[u64],
    trainable: bool,
) -> Built {
    b.parameter(ParameterSpec {
        name,
        path: path.names_to(name),
        shape,
        trainable,
    })
}

/// The geometry of a convolution: square kernel, one stride.
#[derive(Clone, Copy, Debug)]
pub struct ConvWindow {
    /// Height and width of the kernel.
    pub kernel: u64,
    /// Step in both directions.
    pub stride: u64,
    /// Whether padding is written out, by `(kernel - 1) / 2` on each side whatever the size of the image, and the convolution itself adds none.
    pub explicit_padding: bool,
}

impl ConvWindow {
    /// A kernel moved by one, with Keras' `SAME` padding.
    pub fn same(kernel: u64) -> Self {
        Self {
            kernel,
            stride: 1,
            explicit_padding: false,
        }
    }

    /// Pads where that is explicit, and says how the convolution is to be done.
    fn apply(self, b: &mut Builder, x: ValueId) -> Built<(ValueId, ConvAttrs)> {
        if !self.explicit_padding {
            return Ok((x, ConvAttrs::new(self.stride, Padding::Same)));
        }
        let total = self.kernel.saturating_sub(1);
        let sides = (total / 2, total - total / 2);
        let x = if total > 0 {
            b.pad("fixed_padding", x, &[(0, 0), sides, sides, (0, 0)])?
        } else {
            x
        };
        Ok((x, ConvAttrs::new(self.stride, Padding::Valid)))
    }
}

/// The bias of a layer, over the last dimension, where it has one.
pub(crate) fn bias(b: &mut Builder, path: &Path, x: ValueId, use_bias: bool) -> Built {
    if !use_bias {
        return Ok(x);
    }
    let shape = [channels(b, x)];
    let vector = variable(b, path, "bias", &shape, true)?;
    b.bias_add("bias_add", x, vector)
}

/// `Conv2D`: `[n, h, w, c]` to `[n, h', w', filters]`.
///
/// # Errors
/// When the graph refuses a node.
pub fn conv2d(
    b: &mut Builder,
    name: &str,
    path: &Path,
    x: ValueId,
    filters: u64,
    window: ConvWindow,
    use_bias: bool,
) -> Built {
    let kernel = [window.kernel; 2];
    conv2d_by(b, name, path, x, filters, (kernel, window), use_bias)
}

/// As [`conv2d`], with a kernel as wide as the window says, and of one row.
///
/// # Errors
/// When the graph refuses a node.
pub fn conv2d_of_one_row(
    b: &mut Builder,
    name: &str,
    path: &Path,
    x: ValueId,
    filters: u64,
    window: ConvWindow,
    use_bias: bool,
) -> Built {
    let kernel = [1, window.kernel];
    conv2d_by(b, name, path, x, filters, (kernel, window), use_bias)
}

fn conv2d_by(
    b: &mut Builder,
    name: &str,
    path: &Path,
    x: ValueId,
    filters: u64,
    ([height, width], window): ([u64; 2], ConvWindow),
    use_bias: bool,
) -> Built {
    b.scope(name, |b| {
        let shape = [height, width, channels(b, x), filters];
        let kernel = variable(b, path, "kernel", &shape, true)?;
        let (x, attrs) = window.apply(b, x)?;
        let y = b.conv2d("conv2d", x, kernel, attrs)?;
        bias(b, path, y, use_bias)
    })
}

/// `Conv2DTranspose` with bias and Keras' `SAME` padding: `[n, h, w, c]` to `[n, h * stride, w * stride, filters]`.
///
/// # Errors
/// When the graph refuses a node.
pub fn conv2d_transpose(
    b: &mut Builder,
    name: &str,
    path: &Path,
    x: ValueId,
    filters: u64,
    kernel: u64,
    stride: u64,
) -> Built {
    b.scope(name, |b| {
        let shape = [kernel, kernel, filters, channels(b, x)];
        let kernel = variable(b, path, "kernel", &shape, true)?;
        let y = b.conv_transpose2d("conv2d_transpose", x, kernel, stride)?;
        bias(b, path, y, true)
    })
}

/// `DepthwiseConv2D` without bias, one output for each channel.
///
/// # Errors
/// When the graph refuses a node.
pub fn depthwise_conv2d(
    b: &mut Builder,
    name: &str,
    path: &Path,
    x: ValueId,
    window: ConvWindow,
) -> Built {
    b.scope(name, |b| {
        let shape = [window.kernel, window.kernel, channels(b, x), 1];
        let kernel = variable(b, path, "depthwise_kernel", &shape, true)?;
        let (x, attrs) = window.apply(b, x)?;
        b.depthwise_conv2d("depthwise", x, kernel, attrs)
    })
}

/// A convolution, then normalisation and activation: places `first` and `first + 1` of the list of layers at `path`.
///
/// # Errors
/// When the graph refuses a node.
pub fn conv_block(
    b: &mut Builder,
    name: &str,
    (path, first): (&Path, u64),
    x: ValueId,
    filters: u64,
    window: ConvWindow,
    hyperparams: &Hyperparams,
) -> Built {
    let conv = format!("{name}_conv");
    let use_bias = hyperparams.use_bias();
    let y = conv2d(b, &conv, &path.child(first), x, filters, window, use_bias)?;
    norm_and_activation(b, name, &path.child(first + 1), y, hyperparams)
}

/// As [`conv_block`], with a convolution of each channel by itself.
///
/// # Errors
/// When the graph refuses a node.
pub fn depthwise_block(
    b: &mut Builder,
    name: &str,
    (path, first): (&Path, u64),
    x: ValueId,
    window: ConvWindow,
    hyperparams: &Hyperparams,
) -> Built {
    let conv = format!("{name}_conv");
    let conv_path = path.child(first);
    let y = depthwise_conv2d(b, &conv, &conv_path, x, window)?;
    let y = b.scope(&conv, |b| bias(b, &conv_path, y, hyperparams.use_bias()))?;
    norm_and_activation(b, name, &path.child(first + 1), y, hyperparams)
}

/// `SeparableConv2D`: a depthwise convolution, then one across channels, then the bias.
///
/// # Errors
/// When the graph refuses a node.
pub fn separable_conv2d(
    b: &mut Builder,
    name: &str,
    path: &Path,
    x: ValueId,
    filters: u64,
    window: ConvWindow,
    use_bias: bool,
) -> Built {
    let y = depthwise_conv2d(b, name, path, x, window)?;
    b.scope(name, |b| {
        let shape = [1, 1, channels(b, y), filters];
        let kernel = variable(b, path, "pointwise_kernel", &shape, true)?;
        let y = b.conv2d("pointwise", y, kernel, ConvAttrs::new(1, Padding::Same))?;
        bias(b, path, y, use_bias)
    })
}

/// A convolution that is separable where `use_depthwise` says so.
///
/// # Errors
/// When the graph refuses a node.
#[expect(
    clippy::too_many_arguments,
    reason = "one more than its two halves, which take what Keras' layers take"
)]
pub fn conv2d_or_separable(
    b: &mut Builder,
    use_depthwise: bool,
    name: &str,
    path: &Path,
    x: ValueId,
    filters: u64,
    window: ConvWindow,
    use_bias: bool,
) -> Built {
    if use_depthwise {
        separable_conv2d(b, name, path, x, filters, window, use_bias)
    } else {
        conv2d(b, name, path, x, filters, window, use_bias)
    }
}

/// `Dense`: rows `[n, c]` to `[n, units]`, with a bias.
///
/// # Errors
/// When the graph refuses a node.
pub fn dense(b: &mut Builder, name: &str, path: &Path, x: ValueId, units: u64) -> Built {
    b.scope(name, |b| {
        let shape = [channels(b, x), units];
        let kernel = variable(b, path, "kernel", &shape, true)?;
        let y = b.mat_mul("mat_mul", x, kernel)?;
        bias(b, path, y, true)
    })
}

/// `BatchNormalization` of feature maps, with its moving statistics.
///
/// # Errors
/// When the graph refuses a node.
pub fn batch_norm(b: &mut Builder, name: &str, path: &Path, x: ValueId, norm: BatchNorm) -> Built {
    b.scope(name, |b| {
        let shape = [channels(b, x)];
        let filled = |value: f32| {
            let count = usize::try_from(shape[0]).unwrap_or_default();
            Tensor::f32(&shape, &vec![value; count]).unwrap_or_else(|| Tensor::scalar_f32(value))
        };
        let gamma = if norm.scale {
            variable(b, path, "gamma", &shape, true)?
        } else {
            b.constant("ones", filled(1.0))?
        };
        let beta = if norm.center {
            variable(b, path, "beta", &shape, true)?
        } else {
            b.constant("zeros", filled(0.0))?
        };
        let mean = variable(b, path, "moving_mean", &shape, false)?;
        let variance = variable(b, path, "moving_variance", &shape, false)?;
        b.batch_norm("batch_norm", x, [gamma, beta, mean, variance], norm.epsilon)
    })
}

/// `BatchNormalization` of rows `[n, c]`, with its moving statistics.
///
/// # Errors
/// When the graph refuses a node.
pub fn batch_norm_of_rows(
    b: &mut Builder,
    name: &str,
    path: &Path,
    x: ValueId,
    norm: BatchNorm,
) -> Built {
    let rows = b.shape(x).dims().to_vec();
    let [n, c] = rows.as_slice() else {
        return batch_norm(b, name, path, x, norm);
    };
    let maps = [n.clone(), 1.into(), 1.into(), c.clone()];
    let maps = b.reshape(&format!("{name}/as_maps"), x, &maps)?;
    let maps = batch_norm(b, name, path, maps, norm)?;
    b.reshape(&format!("{name}/as_rows"), maps, &rows)
}

/// Batch normalisation, where the configuration has one, then the activation.
///
/// # Errors
/// When the graph refuses a node.
pub fn norm_and_activation(
    b: &mut Builder,
    name: &str,
    norm_path: &Path,
    x: ValueId,
    hyperparams: &Hyperparams,
) -> Built {
    let y = match hyperparams.batch_norm {
        Some(norm) => batch_norm(b, &format!("{name}_batchnorm"), norm_path, x, norm)?,
        None => x,
    };
    hyperparams.activation.apply(b, name, y)
}
