//! A node that is being read: its inputs, the constants among them, and its attributes as the graph's.

use tfod_graph::{
    Builder, ConvAttrs, DType, NmsAttrs, Op, Padding, PoolAttrs, SoftNmsAttrs, Tensor, ValueId,
};

use super::{ReadError, refused};
use crate::constants::FlatNode;
use crate::messages::attr;

pub(super) type Result<T> = std::result::Result<T, ReadError>;

/// One node on its way into the graph.
pub(super) struct Writing<'w, 'g, 'a> {
    pub(super) b: &'w mut Builder,
    pub(super) node: &'g FlatNode<'a>,
    pub(super) name: &'w str,
    pub(super) inputs: &'w [ValueId],
}

impl Writing<'_, '_, '_> {
    pub(super) fn refuse(&self, problem: &str) -> ReadError {
        refused(self.node, problem.to_owned())
    }

    pub(super) fn input(&self, position: usize) -> Result<ValueId> {
        let input = self.inputs.get(position).copied();
        input.ok_or_else(|| self.refuse(&format!("has no input {position}")))
    }

    /// An operation on these values.
    pub(super) fn with(&mut self, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        Ok(self.b.add(self.name, op, inputs)?)
    }

    /// An operation on all inputs.
    pub(super) fn all(&mut self, op: Op) -> Result<Vec<ValueId>> {
        self.with(op, self.inputs)
    }

    /// An operation on the first inputs.
    pub(super) fn of(&mut self, op: Op, inputs: usize) -> Result<Vec<ValueId>> {
        let all = self.inputs.get(..inputs);
        let all = all.ok_or_else(|| self.refuse(&format!("has fewer than {inputs} inputs")))?;
        self.with(op, all)
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        let found = self.node.attr(name).and_then(attr::bool);
        found.unwrap_or(default)
    }

    pub(super) fn constant(&self, value: ValueId) -> Option<&Tensor> {
        let graph = self.b.graph();
        match &graph.node(graph.value(value).node).op {
            Op::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }

    pub(super) fn integers_of(&self, value: ValueId) -> Result<Vec<i64>> {
        let tensor = self.constant(value);
        let numbers = tensor.and_then(|tensor| match tensor.dtype() {
            DType::I32 => Some(tensor.to_i32()?.into_iter().map(i64::from).collect()),
            DType::I64 => {
                let all = tensor.data().as_chunks::<8>().0.iter();
                Some(all.map(|bytes| i64::from_le_bytes(*bytes)).collect())
            }
            _ => None,
        });
        numbers.ok_or_else(|| self.refuse("is given computed numbers where constants are expected"))
    }

    pub(super) fn integer(&self, input: usize) -> Result<i64> {
        let all = self.integers_of(self.input(input)?)?;
        match all.as_slice() {
            [one] => Ok(*one),
            _ => Err(self.refuse("is given several numbers where one is expected")),
        }
    }

    pub(super) fn float(&self, input: usize) -> Result<f32> {
        let value = self.input(input)?;
        let tensor = self.constant(value).and_then(Tensor::to_f32);
        match tensor.as_deref() {
            Some([one]) => Ok(*one),
            _ => Err(self.refuse("is given a computed number where a constant is expected")),
        }
    }

    /// An axis of a tensor of this rank; a negative one is counted from behind.
    pub(super) fn axis_number(&self, axis: i64, rank: usize) -> Result<usize> {
        let from_behind = i64::try_from(rank)
            .ok()
            .and_then(|rank| axis.checked_add(rank));
        let axis = if axis < 0 { from_behind } else { Some(axis) };
        let axis = axis.and_then(|axis| usize::try_from(axis).ok());
        let axis = axis.filter(|axis| *axis < rank);
        axis.ok_or_else(|| self.refuse("is along an axis that its input has not"))
    }

    /// An axis of a tensor, or of one of `more` dimensions more.
    pub(super) fn axis_of(
        &self,
        axis: Option<&i64>,
        of: Option<&ValueId>,
        more: usize,
    ) -> Result<usize> {
        let (Some(axis), Some(of)) = (axis, of) else {
            return Err(self.refuse("has no inputs"));
        };
        self.axis_number(*axis, self.b.shape(*of).rank() + more)
    }

    pub(super) fn axis_attr(&self, more: usize) -> Result<usize> {
        let axis = self.node.attr("axis").and_then(attr::int).unwrap_or(0);
        self.axis_of(Some(&axis), self.inputs.first(), more)
    }

    /// The axes of a reduction, ascending.
    pub(super) fn reduced_axes(&self) -> Result<Vec<usize>> {
        let rank = self.b.shape(self.input(0)?).rank();
        let mut axes = Vec::new();
        for axis in self.integers_of(self.input(1)?)? {
            axes.push(self.axis_number(axis, rank)?);
        }
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }

    pub(super) fn channels_last(&self) -> Result<()> {
        match self.node.attr("data_format").and_then(attr::text) {
            None | Some("NHWC") => Ok(()),
            Some(_) => Err(self.refuse("has images with channels first")),
        }
    }

    /// The numbers of an attribute that belong to height and width.
    pub(super) fn spatial(&self, name: &str) -> Result<[u64; 2]> {
        let all = self.node.attr(name).and_then(attr::ints);
        match all.as_deref() {
            None if name == "dilations" => Ok([1; 2]),
            Some([1, height, width, 1]) => match (u64::try_from(*height), u64::try_from(*width)) {
                (Ok(height), Ok(width)) => Ok([height, width]),
                _ => Err(self.refuse(&format!("has {name} below 0"))),
            },
            _ => Err(self.refuse(&format!("has {name} that are not of height and width"))),
        }
    }

    pub(super) fn padding(&self) -> Result<Padding> {
        match self.node.attr("padding").and_then(attr::text) {
            Some("SAME") => Ok(Padding::Same),
            Some("VALID") => Ok(Padding::Valid),
            _ => Err(self.refuse("has explicit padding")),
        }
    }

    pub(super) fn pooling(&self) -> Result<PoolAttrs> {
        self.channels_last()?;
        Ok(PoolAttrs {
            window: self.spatial("ksize")?,
            strides: self.spatial("strides")?,
            padding: self.padding()?,
        })
    }

    pub(super) fn convolution(&self) -> Result<ConvAttrs> {
        self.channels_last()?;
        Ok(ConvAttrs {
            strides: self.spatial("strides")?,
            padding: self.padding()?,
            dilations: self.spatial("dilations")?,
        })
    }

    /// The number of selections; results must be filled up to it.
    pub(super) fn selections(&self) -> Result<u64> {
        if !self.flag("pad_to_max_output_size", false) {
            return Err(self.refuse("gives as many results as it finds"));
        }
        let most = u64::try_from(self.integer(2)?);
        most.map_err(|_| self.refuse("selects less than none"))
    }

    pub(super) fn suppression(&mut self) -> Result<Vec<ValueId>> {
        let attrs = NmsAttrs {
            max_output_size: self.selections()?,
            iou_threshold: self.float(3)?,
            score_threshold: self.float(4)?,
        };
        self.of(Op::NonMaxSuppression(attrs), 2)
    }

    pub(super) fn soft_suppression(&mut self) -> Result<Vec<ValueId>> {
        let attrs = SoftNmsAttrs {
            max_output_size: self.selections()?,
            score_threshold: self.float(4)?,
            sigma: self.float(5)?,
        };
        // Below 1, boxes are dropped as well as decayed; without decay they are only dropped.
        if self.float(3)? < 1.0 || attrs.sigma <= 0.0 {
            return Err(self.refuse("both drops boxes and decays their scores"));
        }
        self.of(Op::SoftNonMaxSuppression(attrs), 2)
    }

    pub(super) fn example(&mut self) -> Result<Vec<ValueId>> {
        let keys = self.node.attr("dense_keys").and_then(attr::texts);
        let sparse = self.node.attr("num_sparse").and_then(attr::int);
        let key = match keys.as_deref() {
            Some([key]) if sparse.unwrap_or(0) == 0 => (*key).to_owned(),
            _ => return Err(self.refuse("takes several features out of an example")),
        };
        self.of(Op::ExampleFeature { key }, 1)
    }
}
