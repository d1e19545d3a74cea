//! Weighted bidirectional feature pyramid (EfficientDet, Tan et al. 2020, <https://arxiv.org/abs/1911.09070>, section 3): rounds of a way down from
//! coarse to fine and a way up again, at whose nodes two or three maps are brought to one size, added with trained weights, and
//! smoothed. After the reference's `KerasBiFpnFeatureMaps`.

use tfod_graph::{
    Binary, Builder, Built, Dim, Padding, PoolAttrs, Reduce, ResizeMethod, Unary, ValueId,
};

use crate::error::ModelError;
use crate::hyperparams::{Activation, Hyperparams};
use crate::layers::{ConvWindow, Path, conv2d, norm_and_activation, separable_conv2d, variable};

/// What keeps fast attention from dividing by zero.
const EPSILON: f32 = 1e-4;

/// How a node adds its maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// With weights as trained, negative ones as zero, divided by their sum.
    FastAttention,
    /// With weights through a softmax, which the reference takes over an axis of one element: every weight is 1, whatever was trained.
    Attention,
    /// With weights as trained.
    WeightedSum,
    /// Without weights.
    Sum,
}

impl Combine {
    /// All, by their name in the configuration.
    pub const NAMED: [(&str, Self); 4] = [
        ("fast_attention", Self::FastAttention),
        ("attention", Self::Attention),
        ("weighted_sum", Self::WeightedSum),
        ("sum", Self::Sum),
    ];
}

/// How a pyramid's layers are configured.
#[derive(Clone, Copy, Debug)]
pub struct BiFpn {
    /// Rounds down and up, at least 1.
    pub iterations: u64,
    /// Channels of every level.
    pub filters: u64,
    /// How nodes add.
    pub combine: Combine,
    /// Activation, normalisation and bias of all convolutions.
    pub hyperparams: Hyperparams,
}

/// A map that nodes may take.
#[derive(Clone, Copy)]
struct Map {
    value: ValueId,
    level: u64,
    /// Whether it comes from the backbone, so that it has yet to be projected to the pyramid's channels.
    raw: bool,
}

impl BiFpn {
    /// Of convolutions that no activation follows; where there is one, it comes first.
    fn layers(&self) -> Hyperparams {
        Hyperparams {
            activation: Activation::None,
            ..self.hyperparams
        }
    }

    /// The pyramid over maps of the backbone, from fine to coarse, the first of them of `min_level`; further coarse levels up to `max_level` are
    /// pooled from the last. Gives one map for each level. `path` is the place of the reference's feature map generator.
    ///
    /// # Errors
    /// When sizes do not halve exactly, so that levels cannot be added.
    pub fn build(
        &self,
        b: &mut Builder,
        path: &Path,
        features: &[ValueId],
        min_level: u64,
        max_level: u64,
    ) -> Result<Vec<ValueId>, ModelError> {
        let mut nodes = Nodes {
            config: self,
            path,
            count: 0,
        };
        let mut levels: Vec<Map> = (min_level..)
            .zip(features)
            .map(|(level, value)| Map {
                value: *value,
                level,
                raw: true,
            })
            .collect();
        let Some(mut last) = levels.last().copied() else {
            return Ok(Vec::new());
        };
        for level in last.level + 1..=max_level {
            last = nodes.coarser(b, &format!("0_up_lvl_{level}"), level, last)?;
            levels.push(last);
        }
        for round in 1..=self.iterations {
            // Each level from the round before, and on the way up as this round's way down has changed it.
            let before = levels.clone();
            for map in levels.iter_mut().rev().skip(1) {
                let name = format!("{round}_dn_lvl_{}", map.level);
                last = nodes.combined(b, &name, map.level, &[*map, last])?;
                *map = last;
            }
            let coarsest = levels.len().saturating_sub(1);
            for (index, map) in levels.iter_mut().enumerate().skip(1) {
                let name = format!("{round}_up_lvl_{}", map.level);
                let mut inputs: Vec<Map> = before.get(index).copied().into_iter().collect();
                if index < coarsest {
                    inputs.push(*map);
                }
                inputs.push(last);
                last = nodes.combined(b, &name, map.level, &inputs)?;
                *map = last;
            }
        }
        Ok(levels.iter().map(|map| map.value).collect())
    }
}

/// Writes nodes; the reference keeps each one's layers in lists, at the node's position.
struct Nodes<'a> {
    config: &'a BiFpn,
    path: &'a Path,
    count: usize,
}

impl Nodes<'_> {
    fn next(&mut self) -> usize {
        self.count += 1;
        self.count - 1
    }

    /// A node that only pools a finer map.
    fn coarser(
        &mut self,
        b: &mut Builder,
        name: &str,
        level: u64,
        map: Map,
    ) -> Result<Map, ModelError> {
        let node = self.next();
        let value = b.scope(name, |b| self.input(b, node, 0, level, map))?;
        Ok(Map {
            value,
            level,
            raw: false,
        })
    }

    /// A node that adds maps and smooths the sum.
    fn combined(
        &mut self,
        b: &mut Builder,
        name: &str,
        level: u64,
        inputs: &[Map],
    ) -> Result<Map, ModelError> {
        let node = self.next();
        let value = b.scope::<_, ModelError>(name, |b| {
            let maps = inputs
                .iter()
                .enumerate()
                .map(|(index, map)| self.input(b, node, index, level, *map))
                .collect::<Result<Vec<_>, _>>()?;
            same_size(b, level, &maps)?;
            let sum = b.scope("combine", |b| self.combine(b, node, &maps))?;
            b.scope("post_combine", |b| self.smooth(b, node, sum))
        })?;
        Ok(Map {
            value,
            level,
            raw: false,
        })
    }

    /// An input of a node: projected where it comes from the backbone, then brought to the node's level, of which it is at most one away.
    fn input(
        &self,
        b: &mut Builder,
        node: usize,
        index: usize,
        level: u64,
        map: Map,
    ) -> Result<ValueId, ModelError> {
        let path = self.path.child("node_input_blocks").child(node);
        let path = path.child(index).child(1);
        let mut x = map.value;
        b.scope(&format!("input_{index}"), |b| {
            if map.raw {
                let (layers, name) = (self.config.layers(), "1x1_pre_sample");
                let (filters, one) = (self.config.filters, ConvWindow::same(1));
                x = conv2d(b, name, &path.child(0), x, filters, one, layers.use_bias())?;
                x = norm_and_activation(b, name, &path.child(1), x, &layers)?;
            }
            if map.level < level {
                x = b.max_pool("downsample", x, PoolAttrs::new(3, 2, Padding::Same))?;
            } else if map.level > level {
                x = double(b, x)?;
            }
            Ok(x)
        })
    }

    fn combine(
        &self,
        b: &mut Builder,
        node: usize,
        maps: &[ValueId],
    ) -> Result<ValueId, ModelError> {
        let path = self.path.child("node_combine_op").child(node);
        let shape = [maps.len() as u64, 1];
        let trained = |b: &mut Builder| variable(b, &path, "bifpn_combine_weights", &shape, true);
        let weights = match self.config.combine {
            Combine::Sum => None,
            Combine::Attention => {
                // Checkpoints have them, though they make no difference.
                trained(b)?;
                None
            }
            Combine::WeightedSum => Some(trained(b)?),
            Combine::FastAttention => {
                let weights = trained(b)?;
                let weights = b.unary("relu", Unary::Relu, weights)?;
                let total = b.reduce("total", Reduce::Sum, weights, &[0, 1])?;
                let total = b.binary_scalar("not_zero", Binary::Add, total, EPSILON)?;
                Some(b.binary("normalized", Binary::Div, weights, total)?)
            }
        };
        let terms = match weights {
            None => maps.to_vec(),
            Some(weights) => {
                let weights = b.unstack("weights", weights, 0)?;
                let pairs = maps.iter().zip(weights);
                pairs
                    .map(|(map, weight)| b.binary("weighted", Binary::Mul, *map, weight))
                    .collect::<Built<Vec<_>>>()?
            }
        };
        let sum = terms
            .into_iter()
            .map(Ok)
            .reduce(|sum, term| b.binary("sum", Binary::Add, sum?, term?));
        let nothing = || ModelError::Inconsistent("a pyramid's node without inputs".into());
        Ok(sum.ok_or_else(nothing)??)
    }

    /// Activation, separable convolution, normalisation, in this order.
    fn smooth(&self, b: &mut Builder, node: usize, x: ValueId) -> Result<ValueId, ModelError> {
        let path = self.path.child("node_post_combine_block").child(node);
        let (layers, name) = (self.config.layers(), "separable_conv");
        let (filters, window) = (self.config.filters, ConvWindow::same(3));
        let x = self
            .config
            .hyperparams
            .activation
            .apply(b, "activation", x)?;
        let bias = layers.use_bias();
        let x = separable_conv2d(b, name, &path.child(1), x, filters, window, bias)?;
        Ok(norm_and_activation(b, name, &path.child(2), x, &layers)?)
    }
}

/// Every pixel twice in both directions.
fn double(b: &mut Builder, x: ValueId) -> Result<ValueId, ModelError> {
    match *b.shape(x).dims() {
        [_, Dim::Known(h), Dim::Known(w), _] => {
            Ok(b.resize("upsample", x, ResizeMethod::Nearest, [h * 2, w * 2], false)?)
        }
        _ => Err(ModelError::Inconsistent(
            "a feature pyramid over images of unknown size".into(),
        )),
    }
}

/// Checks that maps can be added: doubling undoes halving only where there was nothing to round.
fn same_size(b: &Builder, level: u64, maps: &[ValueId]) -> Result<(), ModelError> {
    let sizes = maps.iter().map(|map| b.shape(*map).dims().get(1..3));
    let mut sizes = sizes.map(Option::unwrap_or_default);
    let first = sizes.next().unwrap_or_default();
    let Some(other) = sizes.find(|size| *size != first) else {
        return Ok(());
    };
    let text = |size: &[Dim]| {
        let sides: Vec<String> = size.iter().map(ToString::to_string).collect();
        sides.join("x")
    };
    Err(ModelError::Inconsistent(format!(
        "level {level} of the feature pyramid is {}, and a neighbouring level brought to its size is {}: with this image size the levels do \
         not halve exactly; height and width must be multiples of the coarsest level's stride (2 to the power of max_level)",
        text(first),
        text(other)
    )))
}
