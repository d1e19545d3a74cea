//! What nodes give to each other during expansion.

use std::rc::Rc;

use super::super::error::NodePlace;
use super::super::graph::{NodeId, ScopeId, Tensor};
use super::super::model::{FunctionRef, NodeDef};
use super::super::wire::attr;
use super::references::Reference;
use super::updates::Written;

/// What an output of a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Tensor(Tensor),
    /// The handle of a variable.
    Variable {
        index: usize,
        /// The variable's value, where it has already been brought to: inside of a loop of the original graph, or the argument of a
        /// function that is kept.
        read: Option<Tensor>,
        /// Where control flow of the original graph has sent it.
        routed: Option<Routed>,
    },
    /// A reference to a variable of TensorFlow 1.
    Reference(Reference),
    /// Something that a frozen graph cannot have. It is an error to use it, not to make it.
    Refused(Rc<Refusal>),
}

impl Value {
    /// The handle of a variable that nothing has been done with.
    pub(crate) fn handle(index: usize) -> Self {
        Self::Variable {
            index,
            read: None,
            routed: None,
        }
    }
}

/// A handle that control flow of the original graph has sent somewhere, with the variable's value as it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Routed {
    /// The latest assignment to the variable before that.
    pub(crate) written: Option<usize>,
}

/// Why a value cannot be used.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) place: NodePlace,
    pub(crate) reason: String,
    /// The file that it is the path of, where it is that of an asset.
    pub(crate) asset: Option<String>,
}

/// What a node that was visited gives to others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) values: Vec<Value>,
    /// The nodes after which a node with a control input from this one may run.
    pub(crate) controls: Vec<NodeId>,
    /// What has been assigned to variables once the node has run.
    pub(crate) written: Written,
}

/// An input of a node: which tensor, or a control input.
#[derive(Clone, Copy)]
pub(crate) enum NodeInput {
    Argument(usize),
    Output(usize, usize),
    Control(usize),
    /// A control input from an argument, which says nothing.
    Nothing,
}

/// A node about to be rewritten, with everything that is known about it.
pub(crate) struct Visit<'a, 'i> {
    pub(crate) def: &'i NodeDef<'a>,
    pub(crate) place: NodePlace,
    pub(crate) name: String,
    pub(crate) scope: ScopeId,
    pub(crate) attrs: Vec<(&'a str, &'a [u8])>,
    pub(crate) inputs: Vec<Value>,
    /// What has to run before.
    pub(crate) controls: Vec<NodeId>,
    /// What was assigned to variables before.
    pub(crate) written: Written,
}

impl<'a> Visit<'a, '_> {
    pub(crate) fn attr(&self, name: &str) -> Option<&'a [u8]> {
        attr::find(&self.attrs, name).copied()
    }

    pub(crate) fn func(&self, name: &str) -> Option<FunctionRef<'a>> {
        FunctionRef::parse(attr::func(self.attr(name)?)?)
    }

    /// The name of a node that stands for a part of this one.
    pub(crate) fn part(&self, part: &str) -> String {
        format!("{}/{part}", self.name)
    }
}
