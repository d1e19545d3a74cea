//! Inception-ResNet-v2 (Szegedy et al. 2016, <https://arxiv.org/abs/1602.07261>), as the Keras application has it and the reference changes it for two-stage
//! detectors: all convolutions and poolings are padded, so that feature maps are aligned with the image.
//!
//! A module is some branches, each a chain of convolutions, which are joined; a residual module adds the result to its input. The checkpoint numbers the layers of a Keras
//! model by their distance from the end, the farthest first, and those of one distance in the order of the branches.

use tfod_graph::{Binary, Builder, ConvAttrs, Padding, PoolAttrs, Unary, ValueId};

use crate::backbone::functional::Functional;
use crate::error::ModelError;
use crate::hyperparams::{Activation, BatchNorm, Hyperparams};
use crate::layers::{Path, batch_norm, channels, variable};

/// Normalisation after each convolution: without a gamma.
const NORM: BatchNorm = BatchNorm {
    scale: false,
    ..BatchNorm::KERAS
};

/// A step of a branch.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A convolution, normalisation and activation: channels, height and width of the kernel, stride.
    Conv(u64, [u64; 2], u64),
    /// The average over three by three pixels.
    Average,
    /// The largest of three by three pixels, with this stride.
    Max(u64),
}

use Step::{Average, Conv, Max};

/// The chains of a module.
type Branches = &'static [&'static [Step]];

const ONE: [u64; 2] = [1, 1];
const THREE: [u64; 2] = [3, 3];

/// Before the modules: figure 3 of the paper, without its branches.
const STEM: Branches = &[&[
    Conv(32, THREE, 2),
    Conv(32, THREE, 1),
    Conv(64, THREE, 1),
    Max(2),
    Conv(80, ONE, 1),
    Conv(192, THREE, 1),
    Max(2),
]];
const MIXED_5B: Branches = &[
    &[Conv(96, ONE, 1)],
    &[Conv(48, ONE, 1), Conv(64, [5, 5], 1)],
    &[Conv(64, ONE, 1), Conv(96, THREE, 1), Conv(96, THREE, 1)],
    &[Average, Conv(64, ONE, 1)],
];
/// Figure 16.
const BLOCK_35: Branches = &[
    &[Conv(32, ONE, 1)],
    &[Conv(32, ONE, 1), Conv(32, THREE, 1)],
    &[Conv(32, ONE, 1), Conv(48, THREE, 1), Conv(64, THREE, 1)],
];
/// Figure 7 with the widths of table 1.
const MIXED_6A: Branches = &[
    &[Conv(384, THREE, 2)],
    &[Conv(256, ONE, 1), Conv(256, THREE, 1), Conv(384, THREE, 2)],
    &[Max(2)],
];
/// Figure 17.
const BLOCK_17: Branches = &[
    &[Conv(192, ONE, 1)],
    &[
        Conv(128, ONE, 1),
        Conv(160, [1, 7], 1),
        Conv(192, [7, 1], 1),
    ],
];
/// Figure 18.
const MIXED_7A: Branches = &[
    &[Conv(256, ONE, 1), Conv(384, THREE, 2)],
    &[Conv(256, ONE, 1), Conv(288, THREE, 2)],
    &[Conv(256, ONE, 1), Conv(288, THREE, 1), Conv(320, THREE, 2)],
    &[Max(2)],
];
/// Figure 19.
const BLOCK_8: Branches = &[
    &[Conv(192, ONE, 1)],
    &[
        Conv(192, ONE, 1),
        Conv(224, [1, 3], 1),
        Conv(256, [3, 1], 1),
    ],
];
/// After the modules.
const LAST: Branches = &[&[Conv(1536, ONE, 1)]];

/// A residual module that is repeated.
#[derive(Clone, Copy, Debug)]
struct Residual {
    name: &'static str,
    branches: Branches,
    count: u64,
    /// What is added is multiplied by this.
    scale: f32,
}

const RESIDUAL_35: Residual = Residual {
    name: "block35",
    branches: BLOCK_35,
    count: 10,
    scale: 0.17,
};
const RESIDUAL_17: Residual = Residual {
    name: "block17",
    branches: BLOCK_17,
    count: 20,
    scale: 0.1,
};
const RESIDUAL_8: Residual = Residual {
    name: "block8",
    branches: BLOCK_8,
    count: 9,
    scale: 0.2,
};

/// The network in two parts, as two-stage detectors have it.
#[derive(Clone, Copy, Debug)]
pub struct InceptionResnetV2 {
    /// Whether feature maps have a stride of 8 instead of 16: `mixed_6a` has no stride then, and the filters of the modules after it have gaps.
    pub is_dilated: bool,
}

impl InceptionResnetV2 {
    /// Writes the network over images `[n, h, w, 3]` up to the last module of 17 by 17: `[n, h', w', 1088]`. `path` is the place of the Keras model of this part.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn first_part(
        self,
        b: &mut Builder,
        path: &Path,
        images: ValueId,
    ) -> Result<ValueId, ModelError> {
        let mut net = Net::new(path);
        let x = net.module(b, "stem", STEM, images)?;
        let x = net.module(b, "mixed_5b", MIXED_5B, x)?;
        let x = net.residuals(b, RESIDUAL_35, x)?;
        net.has_no_stride = self.is_dilated;
        let x = net.module(b, "mixed_6a", MIXED_6A, x)?;
        net.dilation = if self.is_dilated { 2 } else { 1 };
        net.residuals(b, RESIDUAL_17, x)
    }

    /// Writes the rest of the network over maps `[n, h, w, 1088]`: `[n, h', w', 1536]`. `path` is the place of the Keras model of this part.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn second_part(
        self,
        b: &mut Builder,
        path: &Path,
        maps: ValueId,
    ) -> Result<ValueId, ModelError> {
        let mut net = Net::new(path);
        let x = net.module(b, "mixed_7a", MIXED_7A, maps)?;
        let x = net.residuals(b, RESIDUAL_8, x)?;
        // The last module is neither scaled nor activated.
        let x = net.residual(b, "block8_10", BLOCK_8, x, None)?;
        net.module(b, "conv_7b", LAST, x)
    }
}

/// A Keras model as it is written.
struct Net<'a> {
    layers: Functional<'a>,
    /// Distance between the taps of kernels.
    dilation: u64,
    /// Whether strides are left out.
    has_no_stride: bool,
}

impl<'a> Net<'a> {
    fn new(path: &'a Path) -> Self {
        let hyperparams = Hyperparams {
            activation: Activation::Relu,
            batch_norm: Some(NORM),
            force_use_bias: false,
        };
        Self {
            layers: Functional::new(path, false, hyperparams),
            dilation: 1,
            has_no_stride: false,
        }
    }

    /// The places of the convolutions of each branch and of their normalisations.
    fn places(&mut self, branches: Branches) -> Vec<Vec<[Path; 2]>> {
        // Each layer of a branch from its end: which step it is of, and whether it has variables.
        let layers = branches.iter().map(|branch| {
            let steps = branch.iter().enumerate().rev();
            let layers = steps.flat_map(|(step, kind)| match kind {
                // Activation, normalisation, convolution.
                Conv(..) => vec![(step, false), (step, true), (step, true)],
                Average | Max(_) => vec![(step, false)],
            });
            layers.collect::<Vec<_>>()
        });
        let layers: Vec<_> = layers.collect();
        let farthest = layers.iter().map(Vec::len).max().unwrap_or_default();
        let mut places: Vec<Vec<Vec<Path>>> = branches
            .iter()
            .map(|branch| vec![Vec::new(); branch.len()])
            .collect();
        for distance in (0..farthest).rev() {
            for (branch, layers) in layers.iter().enumerate() {
                if let Some((step, true)) = layers.get(distance) {
                    places[branch][*step].push(self.layers.next_layer());
                }
            }
        }
        places
            .into_iter()
            .map(|branch| {
                let pairs = branch.into_iter();
                pairs
                    .filter_map(|pair| <[Path; 2]>::try_from(pair).ok())
                    .collect()
            })
            .collect()
    }

    /// The branches of a module, joined.
    fn module(
        &mut self,
        b: &mut Builder,
        name: &str,
        branches: Branches,
        x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let places = self.places(branches);
        b.scope(name, |b| {
            let mut results = Vec::with_capacity(branches.len());
            for (number, (branch, places)) in branches.iter().zip(places).enumerate() {
                let name = format!("branch_{number}");
                results.push(b.scope(&name, |b| self.branch(b, branch, places, x))?);
            }
            match results.as_slice() {
                [only] => Ok(*only),
                _ => Ok(b.concat("mixed", 3, &results)?),
            }
        })
    }

    fn branch(
        &self,
        b: &mut Builder,
        branch: &[Step],
        places: Vec<[Path; 2]>,
        mut x: ValueId,
    ) -> Result<ValueId, ModelError> {
        let mut places = places.into_iter();
        let missing = || ModelError::Inconsistent("a convolution without a place".into());
        for step in branch {
            x = match *step {
                Conv(filters, kernel, stride) => {
                    let [conv, norm] = places.next().ok_or_else(missing)?;
                    let x = self.conv(b, &conv, x, filters, kernel, stride)?;
                    let x = batch_norm(b, "bn", &norm, x, NORM)?;
                    b.unary("ac", Unary::Relu, x)?
                }
                Average => b.average_pool("pool", x, PoolAttrs::new(3, 1, Padding::Same))?,
                Max(stride) => {
                    let attrs = PoolAttrs::new(3, self.stride(stride), Padding::Same);
                    b.max_pool("pool", x, attrs)?
                }
            };
        }
        Ok(x)
    }

    fn stride(&self, stride: u64) -> u64 {
        if self.has_no_stride { 1 } else { stride }
    }

    fn conv(
        &self,
        b: &mut Builder,
        path: &Path,
        x: ValueId,
        filters: u64,
        [height, width]: [u64; 2],
        stride: u64,
    ) -> Result<ValueId, ModelError> {
        let shape = [height, width, channels(b, x), filters];
        let attrs = ConvAttrs {
            // Without an effect on single taps.
            dilations: [height, width].map(|taps| if taps > 1 { self.dilation } else { 1 }),
            ..ConvAttrs::new(self.stride(stride), Padding::Same)
        };
        b.scope("conv", |b| {
            let kernel = variable(b, path, "kernel", &shape, true)?;
            Ok(b.conv2d("conv2d", x, kernel, attrs)?)
        })
    }

    fn residuals(
        &mut self,
        b: &mut Builder,
        residual: Residual,
        mut x: ValueId,
    ) -> Result<ValueId, ModelError> {
        for number in 1..=residual.count {
            let name = format!("{}_{number}", residual.name);
            x = self.residual(b, &name, residual.branches, x, Some(residual.scale))?;
            x = b.unary(&format!("{name}_ac"), Unary::Relu, x)?;
        }
        Ok(x)
    }

    /// The branches, joined and brought to as many channels as there were, are added.
    fn residual(
        &mut self,
        b: &mut Builder,
        name: &str,
        branches: Branches,
        x: ValueId,
        scale: Option<f32>,
    ) -> Result<ValueId, ModelError> {
        let mixed = self.module(b, name, branches, x)?;
        let path = self.layers.next_layer();
        let depth = channels(b, x);
        let mut up = self.conv(b, &path, mixed, depth, ONE, 1)?;
        b.scope(name, |b| {
            let bias = variable(b, &path, "bias", &[depth], true)?;
            up = b.bias_add("bias_add", up, bias)?;
            if let Some(scale) = scale {
                up = b.binary_scalar("scaled", Binary::Mul, up, scale)?;
            }
            Ok(b.binary("add", Binary::Add, x, up)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tfod_graph::{DType, Shape};

    /// The last part of the paths of a graph's kernels, in the order of their numbers, with their shapes.
    fn kernels(second: bool) -> Vec<(u64, Vec<u64>)> {
        let network = InceptionResnetV2 { is_dilated: false };
        let path = Path::new("net");
        let mut b = Builder::new("net");
        let channels = if second { 1088 } else { 3 };
        let x = b.input("x", DType::F32, Shape::known(&[1, 33, 33, channels]));
        let y = if second {
            network.second_part(&mut b, &path, x).unwrap()
        } else {
            network.first_part(&mut b, &path, x).unwrap()
        };
        b.output("y", y);
        let graph = b.finish();
        let kernels = graph.parameters().filter_map(|(_, parameter)| {
            let [_, layer, name] = parameter.path.as_slice() else {
                return None;
            };
            let number = layer.strip_prefix("layer_with_weights-")?.parse().ok()?;
            (name == "kernel").then(|| (number, parameter.shape.clone()))
        });
        let mut kernels: Vec<_> = kernels.collect();
        kernels.sort();
        kernels
    }

    /// Layers that are equally far from the end are numbered branch by branch; these numbers were read off Keras' model.
    #[test]
    fn layers_are_numbered_by_their_distance_from_the_end() {
        let first = kernels(false);
        assert_eq!(first.last().map(|(number, _)| *number), Some(341));
        let shape = |wanted: u64| first.iter().find(|(number, _)| *number == wanted).unwrap();
        for (number, expected) in [
            (10, [1, 1, 192, 64]),
            (12, [1, 1, 192, 48]),
            (13, [3, 3, 64, 96]),
            (16, [1, 1, 192, 96]),
            (17, [5, 5, 48, 64]),
            (19, [1, 1, 192, 64]),
            (24, [1, 1, 320, 32]),
            (27, [3, 3, 32, 48]),
            (32, [3, 3, 48, 64]),
            (36, [1, 1, 128, 320]),
            (158, [3, 3, 320, 384]),
            (159, [3, 3, 256, 384]),
            (166, [1, 1, 1088, 192]),
            (167, [7, 1, 160, 192]),
        ] {
            assert_eq!(shape(number).1, expected, "{number}");
        }
        let second = kernels(true);
        assert_eq!(second.last(), Some(&(104, vec![1, 1, 2080, 1536])));
    }
}
