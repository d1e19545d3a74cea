//! The layers of a TFLite model that have weights: convolutions with their kernels and biases, and the factors and terms that follow them.
//!
//! TFLite has no batch normalisation: it is in kernels and biases, or in a depthwise convolution of one pixel, or in a product and a sum with constants. Kernels may have fewer
//! bits than what they are computed with; what an integer stands for is told by its tensor.

use std::cell::Cell;
use std::collections::HashMap;

use super::flatbuffer::{File, LEAST_SPENT, MOST_SPENT, Table};
use super::{Code, operators};
use crate::error::{Damage, InspectError, push};
use crate::tensors::{Element, Elements, StoredTensor, num_elements};
use crate::{Content, Facts, Inspection, damaged};

/// What a layer does with its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// A convolution; the kernel is `[out, height, width, in]`.
    Conv2d,
    /// A depthwise convolution; the kernel is `[1, height, width, out]`.
    DepthwiseConv2d,
    /// A transposed convolution; the kernel is `[out, height, width, in]`.
    TransposeConv,
    /// A product with a matrix `[out, in]`.
    FullyConnected,
    /// No kernel: factors and terms alone.
    Scaling,
}

/// A tensor of a model that stands for floats.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    /// Its place in [`Inspection::tensors`].
    pub tensor: usize,
    /// What a 1 stands for, for all or for each place on the axis; empty where elements are floats.
    pub scales: Vec<f32>,
    /// What stands for 0, likewise; 0 where there are fewer.
    pub zero_points: Vec<i64>,
    /// The axis.
    pub axis: usize,
}

/// A layer with weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The name of what it computes.
    pub name: String,
    /// What it does.
    pub kind: LayerKind,
    /// Its kernel.
    pub kernel: Option<Quantity>,
    /// What is added to the product, for each output channel.
    pub bias: Option<Quantity>,
    /// By what the sum is multiplied.
    pub factor: Option<Quantity>,
    /// What is added to that.
    pub term: Option<Quantity>,
}

impl Layer {
    /// All its tensors.
    pub fn quantities(&self) -> impl Iterator<Item = &Quantity> {
        [&self.kernel, &self.bias, &self.factor, &self.term]
            .into_iter()
            .flatten()
    }
}

impl Quantity {
    /// The floats that the elements of its tensor stand for; `None` for what are no numbers, or have as many scales as no axis has places.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what runs has 32 bits, too"
    )]
    pub fn values(&self, tensor: &StoredTensor, elements: &Elements<'_>) -> Option<Vec<f32>> {
        let count = usize::try_from(elements.count()).ok()?;
        let number = |at: usize| elements.get(at as u64).and_then(Element::real);
        if self.scales.is_empty() {
            return (0..count).map(|at| Some(number(at)? as f32)).collect();
        }
        let size = |at: usize| tensor.shape.get(at).copied();
        let places = usize::try_from(size(self.axis)?).ok()?.max(1);
        if self.scales.len() != 1 && self.scales.len() != places {
            return None;
        }
        let behind = tensor.shape.get(self.axis.checked_add(1)?..)?;
        let behind = usize::try_from(num_elements(behind)?).ok()?.max(1);
        let value = |at: usize| {
            let place = at / behind % places;
            let of_all = |list: &[f32]| list.get(place).or(list.first()).copied();
            let zero = self.zero_points.get(place).or(self.zero_points.first());
            #[expect(clippy::cast_precision_loss, reason = "they are small integers")]
            let zero = zero.map_or(0.0, |zero| *zero as f64);
            Some(((number(at)? - zero) * f64::from(of_all(&self.scales)?)) as f32)
        };
        (0..count).map(value).collect()
    }
}

impl Inspection {
    /// The layers of a TFLite model that have weights, in the order in which they run; none of what is no TFLite model.
    ///
    /// # Errors
    ///
    /// If the file is damaged where only this reads it.
    pub fn layers(&self) -> Result<Vec<Layer>, InspectError> {
        let (Facts::Tflite(_), Some(content)) = (&self.facts, &self.source.content) else {
            return Ok(Vec::new());
        };
        let bytes = Content::bytes(content);
        layers(bytes).map_err(|damage| damaged(damage, &self.path, bytes))
    }
}

/// What a layer is, by the number of its operator.
fn kind(operator: i64) -> Option<LayerKind> {
    Some(match operator {
        operators::CONV_2D => LayerKind::Conv2d,
        operators::DEPTHWISE_CONV_2D => LayerKind::DepthwiseConv2d,
        operators::TRANSPOSE_CONV => LayerKind::TransposeConv,
        operators::FULLY_CONNECTED => LayerKind::FullyConnected,
        _ => return None,
    })
}

/// Where a kind of layer has its kernel and its bias among its inputs.
fn places(kind: LayerKind) -> [usize; 2] {
    match kind {
        LayerKind::TransposeConv => [1, 3],
        _ => [1, 2],
    }
}

/// The slot of an operator's options in which the activation is.
fn activation_slot(operator: i64) -> Option<usize> {
    Some(match operator {
        operators::CONV_2D | operators::TRANSPOSE_CONV => 3,
        operators::DEPTHWISE_CONV_2D => 4,
        operators::FULLY_CONNECTED | operators::ADD | operators::MUL => 0,
        _ => return None,
    })
}

/// What is known of a graph's tensors.
struct Tensors<'a> {
    graph: Table<'a>,
    /// The places of constants among all, by the numbers of their tensors.
    constants: HashMap<i32, usize>,
    /// Constants with other bits, by the tensors that they become.
    widened: HashMap<i32, i32>,
}

impl Tensors<'_> {
    fn table(&self, number: i32) -> Result<Option<Table<'_>>, Damage> {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        self.graph.table(0, number)
    }

    /// A tensor, if it is a constant that may stand for floats.
    fn quantity(&self, number: Option<&i32>) -> Result<Option<Quantity>, Damage> {
        let Some(number) = number else {
            return Ok(None);
        };
        let number = self.widened.get(number).unwrap_or(number);
        let Some(&tensor) = self.constants.get(number) else {
            return Ok(None);
        };
        let Some(table) = self.table(*number)? else {
            return Ok(None);
        };
        let mut found = Quantity {
            tensor,
            scales: Vec::new(),
            zero_points: Vec::new(),
            axis: 0,
        };
        if let Some(quantization) = table.inner(4)? {
            found.scales = quantization.floats(2)?;
            let words = quantization.read(3, 8)?.as_chunks::<8>().0.iter();
            found.zero_points = words.map(|word| i64::from_le_bytes(*word)).collect();
            let axis = quantization.int(6)?.unwrap_or(0);
            found.axis = usize::try_from(axis).unwrap_or(usize::MAX);
        }
        Ok(Some(found))
    }

    /// The number of elements of a tensor's last dimension, if all others are 1.
    fn length(&self, number: i32) -> Result<Option<i32>, Damage> {
        let number = self.widened.get(&number).copied().unwrap_or(number);
        let Some(table) = self.table(number)? else {
            return Ok(None);
        };
        let sizes = table.ints(0)?;
        Ok(sizes
            .split_last()
            .filter(|(_, before)| before.iter().all(|size| *size == 1))
            .map(|(last, _)| *last))
    }

    /// The number of elements of a tensor's last dimension.
    fn channels(&self, number: i32) -> Result<Option<i32>, Damage> {
        let Some(table) = self.table(number)? else {
            return Ok(None);
        };
        Ok(table.ints(0)?.last().copied())
    }
}

/// Reads the layers of a file that was scanned without damage.
pub(super) fn layers(bytes: &[u8]) -> Result<Vec<Layer>, Damage> {
    let left = Cell::new(bytes.len().saturating_mul(MOST_SPENT).max(LEAST_SPENT));
    let file = File { bytes, left: &left };
    let model = file.table(file.follow(0)?)?;
    let mut codes = Vec::new();
    for code in model.tables(1)? {
        push(&mut codes, Code::number(&code?)?, bytes)?;
    }
    let mut has_bytes = Vec::new();
    for buffer in model.tables(4)? {
        let range = buffer?.vector(0, 1)?.unwrap_or(0..0);
        push(&mut has_bytes, !range.is_empty(), bytes)?;
    }
    let Some(graph) = model.table(2, 0)? else {
        return Ok(Vec::new());
    };
    let mut tensors = Tensors {
        graph,
        constants: HashMap::new(),
        widened: HashMap::new(),
    };
    for (number, tensor) in (0..).zip(graph.tables(0)?) {
        let buffer = usize::try_from(tensor?.number(2)?).unwrap_or(usize::MAX);
        if has_bytes.get(buffer) == Some(&true) {
            let place = tensors.constants.len();
            tensors.constants.insert(number, place);
        }
    }
    let mut found = Vec::new();
    // The layers that compute tensors, as long as factors and terms may follow.
    let mut open: HashMap<i32, usize> = HashMap::new();
    for step in graph.tables(3)? {
        let step = step?;
        let code = usize::try_from(step.number(0)?).unwrap_or(usize::MAX);
        let Some(operator) = codes.get(code).copied() else {
            continue;
        };
        let (inputs, outputs) = (step.ints(1)?, step.ints(2)?);
        let Some(&result) = outputs.first() else {
            continue;
        };
        if operator == operators::DEQUANTIZE {
            if let Some(&input) = inputs.first()
                && tensors.constants.contains_key(&input)
            {
                tensors.widened.insert(result, input);
            }
            continue;
        }
        let at = if let Some(scaling) = Scaling::of(operator, &inputs, &tensors)? {
            scaling.layer(&open, &mut found, bytes)?
        } else if let Some(kind) = kind(operator) {
            let [kernel, bias] = places(kind);
            let Some(kernel) = tensors.quantity(inputs.get(kernel))? else {
                continue;
            };
            let bias = tensors.quantity(inputs.get(bias))?;
            let layer = Layer {
                name: String::new(),
                kind,
                kernel: Some(kernel),
                bias,
                factor: None,
                term: None,
            };
            push(&mut found, layer, bytes)?;
            Some(found.len() - 1)
        } else {
            None
        };
        let Some(at) = at else {
            continue;
        };
        if let (Some(layer), Some(table)) = (found.get_mut(at), tensors.table(result)?) {
            layer.name = table.text(3)?;
            file.spend(layer.name.len(), table.at)?;
        }
        let is_linear = match (activation_slot(operator), step.inner(4)?) {
            (Some(slot), Some(options)) => {
                let activation = options.field(slot)?;
                activation.map_or(Ok(0), |at| file.byte(at))? == 0
            }
            _ => true,
        };
        if is_linear {
            open.insert(result, at);
        }
    }
    Ok(found)
}

/// What multiplies each channel by a constant, or adds one to it, or does both.
struct Scaling {
    x: i32,
    factor: Option<Quantity>,
    term: Option<Quantity>,
}

impl Scaling {
    fn of(operator: i64, inputs: &[i32], tensors: &Tensors<'_>) -> Result<Option<Self>, Damage> {
        let quantity = |number: &i32| tensors.quantity(Some(number));
        let (x, number, factor, term) = match (operator, inputs) {
            (operators::DEPTHWISE_CONV_2D, [x, kernel, bias @ ..]) => {
                let term = tensors.quantity(bias.first())?;
                (*x, *kernel, quantity(kernel)?, term)
            }
            (operators::MUL | operators::ADD, [first, second]) => {
                let (x, number, found) = match (quantity(first)?, quantity(second)?) {
                    (None, Some(found)) => (*first, *second, found),
                    (Some(found), None) => (*second, *first, found),
                    _ => return Ok(None),
                };
                if operator == operators::MUL {
                    (x, number, Some(found), None)
                } else {
                    (x, number, None, Some(found))
                }
            }
            _ => return Ok(None),
        };
        let channels = tensors.channels(x)?;
        let is_one_each = channels.is_some() && tensors.length(number)? == channels;
        let is_known = factor.is_some() || term.is_some();
        Ok((is_known && is_one_each).then_some(Self { x, factor, term }))
    }

    /// The layer that this is a part of.
    fn layer(
        self,
        open: &HashMap<i32, usize>,
        found: &mut Vec<Layer>,
        bytes: &[u8],
    ) -> Result<Option<usize>, Damage> {
        if let Some(&at) = open.get(&self.x)
            && let Some(layer) = found.get_mut(at)
            && layer.term.is_none()
            && (self.factor.is_none() || layer.factor.is_none())
        {
            if self.factor.is_some() {
                layer.factor = self.factor;
            }
            layer.term = self.term;
            return Ok(Some(at));
        }
        if self.factor.is_none() {
            return Ok(None);
        }
        let layer = Layer {
            name: String::new(),
            kind: LayerKind::Scaling,
            kernel: None,
            bias: None,
            factor: self.factor,
            term: self.term,
        };
        push(found, layer, bytes)?;
        Ok(Some(found.len() - 1))
    }
}
