//! Conditionals and loops, lowered to TensorFlow's dataflow control or kept as they are.
//!
//! Lowering is what `convert_variables_to_constants_v2` does by default, where the node asks for it; it follows the paper "Dynamic Control Flow
//! in Large-Scale Machine Learning" (Yu et al., 2018), figures 3 and 5.

mod conditional;
mod kept;
mod while_loop;

use super::data_type::INT32;
use super::expand::{Expander, Visit};
use super::graph::{Node, Tensor};
use super::wire::{attr, value};

/// The mark that asks for lowering.
const LOWER: &str = "_lower_using_switch_merge";

/// What decides where a switch sends its data: a predicate, or the number of a branch.
#[derive(Clone, Copy)]
struct Selector {
    tensor: Tensor,
    num_branches: u32,
    is_predicate: bool,
}

impl Selector {
    /// A predicate. The first output of its switches is for false.
    fn predicate(tensor: Tensor) -> Self {
        Self {
            tensor,
            num_branches: 2,
            is_predicate: true,
        }
    }

    fn switch<'a>(self, name: String, data: Tensor, data_type: i32) -> Node<'a> {
        let outputs = vec![data_type; self.num_branches as usize];
        let node = |op: &'static str| {
            Node::new(name, op, vec![data, self.tensor], outputs).typed(data_type)
        };
        if self.is_predicate {
            node("Switch")
        } else {
            node("_SwitchN").with("num_outs", value::int(self.num_branches.into()))
        }
    }
}

fn merge<'a>(name: String, inputs: Vec<Tensor>, data_type: i32) -> Node<'a> {
    let count = i64::try_from(inputs.len()).unwrap_or(i64::MAX);
    Node::new(name, "Merge", inputs, vec![data_type, INT32])
        .typed(data_type)
        .with("N", value::int(count))
}

impl<'a> Expander<'a, '_> {
    fn is_lowered(&self, visit: &Visit<'a, '_>) -> bool {
        !self.keep_control_flow && visit.attr(LOWER).and_then(attr::bool) == Some(true)
    }
}
