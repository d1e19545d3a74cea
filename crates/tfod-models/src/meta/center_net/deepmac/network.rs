//! The networks that make masks: convolutional ones, which may see the embedding of the object beside each pixel, and two whose only weights are that
//! embedding.

use tfod_config::protos::center_net::DeepMacMaskEstimation;
use tfod_graph::{Binary, Builder, Reduce, Unary, ValueId};

use super::super::maps::{column, count, inserted, map_dims};
use super::zeros;
use crate::backbone::hourglass::{MaskHourglass, Shape};
use crate::backbone::resnet_preact;
use crate::error::ModelError;
use crate::fields::{Message, invalid, size, unsupported};
use crate::layers::{ConvWindow, Path, conv2d};

/// How a mask is made.
#[derive(Clone, Debug)]
pub(crate) enum Network {
    /// An hourglass whose stem does not halve the map.
    Hourglass {
        /// The hourglass.
        net: MaskHourglass,
        /// Whether it sees the embedding of the object.
        sees_instance: bool,
    },
    /// Residual blocks at one size.
    Resnet {
        /// Channels of the convolution before them.
        stem: u64,
        /// Blocks of each stage, and their channels.
        stages: Vec<(u64, u64)>,
        /// Whether it sees the embedding of the object.
        sees_instance: bool,
    },
    /// The product of the embeddings of pixel and object.
    Projection,
    /// Convolutions of single pixels whose weights are the embedding of the object (Tian et al. 2020, <https://arxiv.org/abs/2003.05664>).
    Conditional {
        /// Channels between the convolutions.
        channels: u64,
        /// How many convolutions.
        depth: u64,
    },
}

/// Residual blocks of the networks without hourglass, and by how much their channels are more than the first's.
const RESNETS: [(&str, &[(u64, u64)]); 5] = [
    ("resnet4", &[(2, 2)]),
    ("resnet8", &[(4, 2)]),
    ("resnet12", &[(6, 2)]),
    ("resnet16", &[(8, 2)]),
    ("resnet20", &[(8, 2), (2, 3)]),
];

/// Hourglasses: residual blocks at each size, by how much channels there are more than the first's, and what they leave out.
const HOURGLASSES: [(&str, &[u64], &[u64], Shape); 7] = [
    ("hourglass10", &[1, 1], &[2, 2], Shape::WHOLE),
    ("hourglass20", &[1, 2, 2], &[2, 2, 3], Shape::WHOLE),
    ("hourglass32", &[2, 2, 2, 2], &[2, 2, 3, 3], Shape::WHOLE),
    (
        "hourglass52",
        &[2, 2, 2, 2, 2, 4],
        &[2, 2, 3, 3, 3, 4],
        Shape::WHOLE,
    ),
    (
        "hourglass100",
        &[4, 4, 4, 4, 4, 8],
        &[2, 2, 3, 3, 3, 4],
        Shape::WHOLE,
    ),
    (
        "hourglass20_uniform_size",
        &[1, 2, 2],
        &[2, 2, 3],
        Shape {
            halves: false,
            ..Shape::WHOLE
        },
    ),
    (
        "hourglass20_no_shortcut",
        &[1, 2, 2],
        &[2, 2, 3],
        Shape {
            has_shortcuts: false,
            ..Shape::WHOLE
        },
    ),
];

pub(crate) const PROJECTION: &str = "embedding_projection";
const CONDITIONAL: &str = "cond_inst";

/// The networks that have weights of their own, with the path from the mask head to the first kernel.
pub(crate) fn with_weights() -> impl Iterator<Item = (&'static str, &'static str)> {
    let hourglasses = HOURGLASSES.iter().map(|(name, ..)| *name);
    let resnets = RESNETS.iter().map(|(name, _)| *name);
    hourglasses
        .map(|name| (name, "_net/conv_input/conv_block/conv/kernel"))
        .chain(resnets.map(|name| (name, "_net/input_layer/kernel")))
}

impl Network {
    /// From the configuration. `dim` and `channels` are the lengths of the embedding of an object and of what is seen of a pixel.
    pub(super) fn from_config(
        config: Message<'_, DeepMacMaskEstimation>,
        [dim, channels]: [u64; 2],
    ) -> Result<Self, ModelError> {
        let field = config.field("network_type");
        let name = config.network_type();
        let width = size(
            config.field("num_init_channels"),
            config.num_init_channels(),
            1,
        )?;
        let sees_instance = config.use_instance_embedding();
        if let Some((_, blocks, widths, shape)) = HOURGLASSES.iter().find(|(own, ..)| *own == name)
        {
            let channels = widths.iter().map(|n| n * width).collect();
            let net = MaskHourglass {
                stem: width,
                channels,
                blocks,
                shape: *shape,
            };
            return Ok(Self::Hourglass { net, sees_instance });
        }
        if let Some((_, stages)) = RESNETS.iter().find(|(own, _)| *own == name) {
            return Ok(Self::Resnet {
                stem: width,
                stages: stages
                    .iter()
                    .map(|(blocks, n)| (*blocks, n * width))
                    .collect(),
                sees_instance,
            });
        }
        let depth = name.strip_prefix(CONDITIONAL);
        if (name == PROJECTION || depth.is_some()) && sees_instance {
            let expected = format!("false with {name}, whose weights the embedding is");
            return Err(invalid(
                config.field("use_instance_embedding"),
                true,
                expected,
            ));
        }
        if name == PROJECTION {
            return Ok(Self::Projection);
        }
        let Some(depth) = depth else {
            let given = match name {
                "fully_connected" => {
                    "\"fully_connected\" (the reference cannot build it in a detector either)"
                        .to_owned()
                }
                _ => format!("{name:?}"),
            };
            return Err(unsupported(field, given, Self::names()));
        };
        let depth = depth.parse().ok().filter(|depth| (1..=64).contains(depth));
        let depth: u64 = depth.ok_or_else(|| {
            invalid(
                field,
                format!("{name:?}"),
                "cond_inst and a number of layers, 1 to 64",
            )
        })?;
        if depth == 1 && channels != width {
            let expected =
                format!("{channels}, as many as there are channels of each pixel, with one layer");
            return Err(invalid(config.field("num_init_channels"), width, expected));
        }
        let weights: u64 = conditional_layers(channels, width, depth)
            .map(|(from, to)| from.saturating_mul(to).saturating_add(to))
            .fold(0, u64::saturating_add);
        if dim != weights {
            let expected = format!(
                "{weights}, the number of weights of {depth} layers from {channels} channels by {width} to 1"
            );
            return Err(invalid(config.field("dim"), dim, expected));
        }
        Ok(Self::Conditional {
            channels: width,
            depth,
        })
    }

    fn names() -> String {
        let own = with_weights().map(|(name, _)| name);
        let names = own.chain([PROJECTION, "cond_inst1, cond_inst2, …"]);
        names.collect::<Vec<_>>().join(", ")
    }

    /// The logits of masks, `f32[n, h, w, 1]`, of what is seen of boxes, `f32[n, h, w, c]`, and their embeddings, `f32[n, dim]`. `path` is that of the mask head.
    pub(super) fn apply(
        &self,
        b: &mut Builder,
        path: &Path,
        input: ValueId,
        instances: ValueId,
    ) -> Result<ValueId, ModelError> {
        let net = path.child("_net");
        let features = match self {
            Self::Hourglass {
                net: hourglass,
                sees_instance,
            } => {
                let input = seen(b, input, instances, *sees_instance)?;
                hourglass.build(b, &net, input)?
            }
            Self::Resnet {
                stem,
                stages,
                sees_instance,
            } => {
                let input = seen(b, input, instances, *sees_instance)?;
                let first = net.child("input_layer");
                let x = conv2d(
                    b,
                    "input_layer",
                    &first,
                    input,
                    *stem,
                    ConvWindow::same(1),
                    true,
                )?;
                resnet_preact::masks(b, &net.child("model"), x, stages)?
            }
            Self::Projection => return projected(b, input, instances),
            Self::Conditional { channels, depth } => {
                return conditional(b, input, instances, *channels, *depth);
            }
        };
        let out = path.child("project_out");
        Ok(conv2d(
            b,
            "project_out",
            &out,
            features,
            1,
            ConvWindow::same(1),
            true,
        )?)
    }
}

/// What is seen of each pixel, the embedding of the object behind it.
fn seen(
    b: &mut Builder,
    input: ValueId,
    instances: ValueId,
    sees_instance: bool,
) -> Result<ValueId, ModelError> {
    if !sees_instance {
        return Ok(input);
    }
    let instances = of_all_pixels(b, instances)?;
    let none = zeros(b, input)?;
    let none = b.slice_last("no_channel", none, 0, 1)?;
    let instances = b.binary("instance_of_pixels", Binary::Add, instances, none)?;
    Ok(b.concat("seen", 3, &[input, instances])?)
}

/// `[n, c]` as `[n, 1, 1, c]`.
fn of_all_pixels(b: &mut Builder, instances: ValueId) -> Result<ValueId, ModelError> {
    let rows = inserted(b, "instance_row", instances, 1)?;
    inserted(b, "instance", rows, 1)
}

fn projected(b: &mut Builder, input: ValueId, instances: ValueId) -> Result<ValueId, ModelError> {
    let instances = of_all_pixels(b, instances)?;
    let product = b.binary("product", Binary::Mul, instances, input)?;
    let sum = b.reduce("projection", Reduce::Sum, product, &[3])?;
    column(b, "projections", sum)
}

/// Channels before and after each layer.
fn conditional_layers(from: u64, channels: u64, depth: u64) -> impl Iterator<Item = (u64, u64)> {
    (1..=depth).map(move |layer| {
        (
            if layer == 1 { from } else { channels },
            if layer == depth { 1 } else { channels },
        )
    })
}

fn conditional(
    b: &mut Builder,
    input: ValueId,
    instances: ValueId,
    channels: u64,
    depth: u64,
) -> Result<ValueId, ModelError> {
    let [number, height, width, from] = map_dims(b, input)?;
    let from = from.known().unwrap_or_default();
    let pixels = count(&[&height, &width])?;
    let mut x = b.reshape("pixels", input, &[number.clone(), pixels, from.into()])?;
    let mut begin = 0;
    for (layer, (from, to)) in conditional_layers(from, channels, depth).enumerate() {
        let name = format!("layer_{layer}");
        let kernel = b.slice_last(&format!("{name}/weights"), instances, begin, from * to)?;
        let shape = [number.clone(), from.into(), to.into()];
        let kernel = b.reshape(&format!("{name}/kernel"), kernel, &shape)?;
        begin += from * to;
        let bias = b.slice_last(&format!("{name}/biases"), instances, begin, to)?;
        let bias = b.reshape(
            &format!("{name}/bias"),
            bias,
            &[number.clone(), 1.into(), to.into()],
        )?;
        begin += to;
        let product = b.mat_mul(&format!("{name}/product"), x, kernel)?;
        x = b.binary(&format!("{name}/sum"), Binary::Add, product, bias)?;
        if layer as u64 + 1 != depth {
            x = b.unary(&format!("{name}/relu"), Unary::Relu, x)?;
        }
    }
    Ok(b.reshape("masks", x, &[number, height, width, 1.into()])?)
}
