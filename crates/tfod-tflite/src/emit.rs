//! The TFLite graph while it is written: tensors with types, and operators.
//!
//! Lowering adds operators, and changes what an operator does last, its inputs, or the sizes of its result. What nothing needs in the end goes in [`Emitter::finish`].

use std::collections::{HashMap, HashSet};

use tfod_graph::DType;

use crate::operator::{Activation, Operator};
use crate::stored::{Key, Stored};

/// Names a tensor of the model being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TensorId(usize);

/// A tensor.
#[derive(Debug)]
pub(crate) struct ModelTensor<'a> {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<u64>,
    /// Its elements, if they are known.
    pub(crate) stored: Option<Stored<'a>>,
}

/// An operator applied to tensors.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) operator: Operator,
    pub(crate) inputs: Vec<TensorId>,
    pub(crate) outputs: Vec<TensorId>,
}

/// A graph being written; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Emitter<'a> {
    tensors: Vec<ModelTensor<'a>>,
    steps: Vec<Step>,
    /// Steps that come before all others: they have only constants as inputs.
    first: Vec<Step>,
    inputs: Vec<TensorId>,
    outputs: Vec<(String, TensorId)>,
    /// The step that computes a tensor.
    made_by: HashMap<TensorId, usize>,
    shared: HashMap<Key, TensorId>,
}

impl<'a> Emitter<'a> {
    fn tensor(&mut self, name: &str, dtype: DType, shape: &[u64]) -> TensorId {
        self.tensors.push(ModelTensor {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            stored: None,
        });
        TensorId(self.tensors.len() - 1)
    }

    pub(crate) fn dtype(&self, id: TensorId) -> DType {
        self.tensors[id.0].dtype
    }

    pub(crate) fn shape(&self, id: TensorId) -> &[u64] {
        &self.tensors[id.0].shape
    }

    /// The elements of a tensor, if they are known.
    pub(crate) fn stored(&self, id: TensorId) -> Option<&Stored<'a>> {
        self.tensors[id.0].stored.as_ref()
    }

    pub(crate) fn rename(&mut self, id: TensorId, name: &str) {
        name.clone_into(&mut self.tensors[id.0].name);
    }

    /// A tensor that the caller supplies.
    pub(crate) fn input(&mut self, name: &str, dtype: DType, shape: &[u64]) -> TensorId {
        let id = self.tensor(name, dtype, shape);
        self.inputs.push(id);
        id
    }

    /// A tensor held by the model; tensors of equal contents are one, and keep the first one's name.
    pub(crate) fn constant(&mut self, name: &str, stored: Stored<'a>) -> TensorId {
        let key = stored.key();
        if let Some(&id) = self.shared.get(&key) {
            return id;
        }
        let id = self.tensor(name, stored.dtype(), &stored.shape());
        self.tensors[id.0].stored = Some(stored);
        self.shared.insert(key, id);
        id
    }

    /// An operator of one result.
    pub(crate) fn add(
        &mut self,
        name: &str,
        operator: Operator,
        inputs: &[TensorId],
        dtype: DType,
        shape: &[u64],
    ) -> TensorId {
        let output = self.tensor(name, dtype, shape);
        self.push(operator, inputs, vec![output]);
        output
    }

    /// An operator of several results: `name`, `name:1` and so on.
    pub(crate) fn add_several(
        &mut self,
        name: &str,
        operator: Operator,
        inputs: &[TensorId],
        results: &[(DType, Vec<u64>)],
    ) -> Vec<TensorId> {
        let results = results.iter().enumerate();
        let outputs = results.map(|(position, (dtype, shape))| {
            let name = match position {
                0 => name.to_owned(),
                _ => format!("{name}:{position}"),
            };
            self.tensor(&name, *dtype, shape)
        });
        let outputs: Vec<TensorId> = outputs.collect();
        self.push(operator, inputs, outputs.clone());
        outputs
    }

    /// A constant whose floats are stored with 16 bits, as a tensor of floats. Runtimes widen it once, when the model is loaded.
    pub(crate) fn half_constant(&mut self, name: &str, stored: Stored<'a>) -> TensorId {
        let (dtype, shape) = (stored.dtype(), stored.shape());
        let half = self.constant(name, stored);
        let known = self.first.iter().find(|step| step.inputs == [half]);
        if let Some(&[wide]) = known.map(|step| step.outputs.as_slice()) {
            return wide;
        }
        let wide = self.tensor(&format!("{name}/wide"), dtype, &shape);
        self.first.push(Step {
            operator: Operator::Dequantize,
            inputs: vec![half],
            outputs: vec![wide],
        });
        wide
    }

    fn push(&mut self, operator: Operator, inputs: &[TensorId], outputs: Vec<TensorId>) {
        for id in &outputs {
            self.made_by.insert(*id, self.steps.len());
        }
        self.steps.push(Step {
            operator,
            inputs: inputs.to_vec(),
            outputs,
        });
    }

    /// The step that computes a tensor; `None` for inputs and constants.
    pub(crate) fn maker(&self, id: TensorId) -> Option<&Step> {
        self.made_by.get(&id).map(|step| &self.steps[*step])
    }

    /// Has the operator that computes a tensor apply an activation, if it can and has none.
    pub(crate) fn activate(&mut self, id: TensorId, with: Activation) -> bool {
        let step = self.made_by.get(&id).copied();
        let step = step.and_then(|step| self.steps.get_mut(step));
        match step.and_then(|step| step.operator.activation()) {
            Some(activation) if *activation == Activation::None => {
                *activation = with;
                true
            }
            _ => false,
        }
    }

    /// Whether the operator that computes a tensor applies no activation.
    pub(crate) fn is_linear(&self, id: TensorId) -> bool {
        self.maker(id).is_some_and(|step| {
            let mut operator = step.operator.clone();
            operator.activation().copied().unwrap_or_default() == Activation::None
        })
    }

    /// How often each tensor is an input of an operator.
    pub(crate) fn uses(&self) -> HashMap<TensorId, usize> {
        let mut uses = HashMap::new();
        for id in self.steps.iter().flat_map(|step| &step.inputs) {
            *uses.entry(*id).or_default() += 1;
        }
        uses
    }

    /// Gives a tensor that an operator computes other sizes, and that operator what it says of them.
    pub(crate) fn resize(&mut self, id: TensorId, sizes: &[u64], operator: Operator) {
        self.tensors[id.0].shape = sizes.to_vec();
        if let Some(step) = self.made_by.get(&id) {
            self.steps[*step].operator = operator;
        }
    }

    /// Gives the operator that computes a tensor its inputs.
    pub(crate) fn set_inputs(&mut self, id: TensorId, inputs: Vec<TensorId>) {
        if let Some(step) = self.made_by.get(&id) {
            self.steps[*step].inputs = inputs;
        }
    }

    /// Has the convolution that computes a tensor take a kernel of 8 bits.
    pub(crate) fn make_hybrid(&mut self, id: TensorId) {
        if let Some(step) = self.made_by.get(&id) {
            self.steps[*step].operator.make_hybrid();
        }
    }

    /// Whether a tensor may be made a result as it is: computed, and no result already.
    pub(crate) fn can_be_output(&self, id: TensorId) -> bool {
        self.made_by.contains_key(&id) && self.outputs.iter().all(|(_, output)| *output != id)
    }

    /// Makes a tensor a result, which has the key as its name.
    pub(crate) fn output(&mut self, key: &str, id: TensorId) {
        self.rename(id, key);
        self.outputs.push((key.to_owned(), id));
    }

    /// The finished graph.
    pub(crate) fn finish(self) -> Finished<'a> {
        let mut needed: HashSet<TensorId> = self.outputs.iter().map(|(_, id)| *id).collect();
        let mut kept = Vec::new();
        for step in self.first.into_iter().chain(self.steps).rev() {
            if step.outputs.iter().any(|id| needed.contains(id)) {
                needed.extend(&step.inputs);
                needed.extend(&step.outputs);
                kept.push(step);
            }
        }
        kept.reverse();
        needed.extend(&self.inputs);
        let mut numbers = HashMap::new();
        let mut tensors = Vec::new();
        for (index, tensor) in self.tensors.into_iter().enumerate() {
            if needed.contains(&TensorId(index)) {
                numbers.insert(TensorId(index), tensors.len());
                tensors.push(tensor);
            }
        }
        let number = |id: &TensorId| numbers.get(id).copied().unwrap_or(0);
        let all = |ids: &[TensorId]| ids.iter().map(number).collect();
        let steps = kept.into_iter().map(|step| FinishedStep {
            inputs: all(&step.inputs),
            outputs: all(&step.outputs),
            operator: step.operator,
        });
        let outputs = self.outputs.iter();
        Finished {
            steps: steps.collect(),
            inputs: all(&self.inputs),
            outputs: outputs.map(|(key, id)| (key.clone(), number(id))).collect(),
            tensors,
        }
    }
}

/// A step whose tensors are known by their numbers in the file.
#[derive(Debug)]
pub(crate) struct FinishedStep {
    pub(crate) operator: Operator,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
}

/// A graph that is complete.
#[derive(Debug)]
pub(crate) struct Finished<'a> {
    pub(crate) tensors: Vec<ModelTensor<'a>>,
    pub(crate) steps: Vec<FinishedStep>,
    pub(crate) inputs: Vec<usize>,
    /// By key.
    pub(crate) outputs: Vec<(String, usize)>,
}
