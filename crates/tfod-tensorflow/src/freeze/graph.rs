//! The graph that freezing builds: nodes without variables or calls, in one arena, referring to each other by index.
//!
//! A node belongs to a [scope](ScopeId): the top level, a branch of a conditional, or a part of a loop. TensorFlow's dataflow control runs a
//! node once its inputs are there, and skips it when one of them is dead; so every node of a branch needs an input from that branch. Where no
//! data input is, the scope's *pivot* becomes a control input. [`Graph::add`] sees to that.

use std::borrow::Cow;
use std::collections::HashMap;

use super::constants::Content;
use super::wire::{Attr, attr, value};

/// A node of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

impl NodeId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn from_index(index: usize) -> Self {
        // The expansion's budget is far below 2^32 nodes.
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

/// An output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tensor {
    pub(crate) node: NodeId,
    pub(crate) port: u32,
}

impl Tensor {
    /// The first output of a node.
    pub(crate) fn of(node: NodeId) -> Self {
        Self { node, port: 0 }
    }
}

/// A scope, or the conditional or loop that a pair of scopes belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ScopeId(u32);

impl ScopeId {
    /// The top level.
    pub(crate) const ROOT: Self = Self(0);
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) name: String,
    pub(crate) op: Cow<'a, str>,
    pub(crate) inputs: Vec<Tensor>,
    /// Nodes that run before this one. Only those matter that have effects or decide whether this one runs; see `prune`.
    pub(crate) controls: Vec<NodeId>,
    /// The control input that ties the node to its scope.
    pub(crate) pivot: Option<NodeId>,
    pub(crate) attrs: Vec<Attr<'a>>,
    /// The value of a constant; then `attrs` has neither `dtype` nor `value`.
    pub(crate) content: Option<Content<'a>>,
    /// The element types of its outputs; `None` if nothing is known of the operation.
    pub(crate) outputs: Option<Vec<i32>>,
    /// Whether its having run matters beyond its outputs.
    pub(crate) is_effect: bool,
    pub(crate) scope: ScopeId,
}

impl<'a> Node<'a> {
    pub(crate) fn new(
        name: String,
        op: impl Into<Cow<'a, str>>,
        inputs: Vec<Tensor>,
        outputs: Vec<i32>,
    ) -> Self {
        Self {
            name,
            op: op.into(),
            inputs,
            controls: Vec::new(),
            pivot: None,
            attrs: Vec::new(),
            content: None,
            outputs: Some(outputs),
            is_effect: false,
            scope: ScopeId::ROOT,
        }
    }

    /// A constant.
    pub(crate) fn constant(name: String, content: Content<'a>) -> Self {
        let data_type = content.data_type();
        Self {
            content: Some(content),
            ..Self::new(name, "Const", Vec::new(), vec![data_type])
        }
    }

    pub(crate) fn with(mut self, attr: &'static str, value: impl Into<Cow<'a, [u8]>>) -> Self {
        self.attrs.push((attr.into(), value.into()));
        self
    }

    /// With the attribute that most operations have: the element type `T`.
    pub(crate) fn typed(self, data_type: i32) -> Self {
        self.with("T", value::data_type(data_type))
    }

    pub(crate) fn after(mut self, controls: &[NodeId]) -> Self {
        self.controls.extend_from_slice(controls);
        self
    }

    /// A node with one input, one output of the same type, and that type as its attribute.
    pub(crate) fn unary(name: String, op: &'static str, input: Tensor, data_type: i32) -> Self {
        Self::new(name, op, vec![input], vec![data_type]).typed(data_type)
    }

    pub(crate) fn attr(&self, name: &str) -> Option<&[u8]> {
        attr::find(&self.attrs, name).map(|value| &**value)
    }

    pub(crate) fn data_type_attr(&self, name: &str) -> Option<i32> {
        attr::data_type(self.attr(name)?)
    }
}

#[derive(Debug)]
struct Scope {
    pivot: Option<NodeId>,
    /// The conditional whose switches count as being in this scope.
    conditional: Option<ScopeId>,
    /// The innermost loop around it.
    frame: Option<usize>,
}

#[derive(Debug)]
struct Frame {
    name: String,
    parallel_iterations: Option<i64>,
    scope: ScopeId,
    /// The loop around it.
    parent: Option<usize>,
    /// Values of the parent that are constant in the loop, as they are inside.
    entered: HashMap<Tensor, Tensor>,
}

/// The arena.
#[derive(Debug)]
pub(crate) struct Graph<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    scopes: Vec<Scope>,
    frames: Vec<Frame>,
}

impl<'a> Graph<'a> {
    pub(crate) fn new() -> Self {
        let root = Scope {
            pivot: None,
            conditional: None,
            frame: None,
        };
        Self {
            nodes: Vec::new(),
            scopes: vec![root],
            frames: Vec::new(),
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node<'a> {
        &self.nodes[id.index()]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node<'a> {
        &mut self.nodes[id.index()]
    }

    /// The element type of a tensor; 0 if it is not known.
    pub(crate) fn data_type(&self, tensor: Tensor) -> i32 {
        let outputs = self.node(tensor.node).outputs.as_ref();
        outputs
            .and_then(|outputs| outputs.get(tensor.port as usize))
            .copied()
            .unwrap_or(0)
    }

    fn push(&mut self, node: Node<'a>) -> NodeId {
        let id = NodeId::from_index(self.nodes.len());
        self.nodes.push(node);
        id
    }

    fn scope_mut(&mut self, scope: Scope) -> ScopeId {
        let id = ScopeId(u32::try_from(self.scopes.len()).unwrap_or(u32::MAX));
        self.scopes.push(scope);
        id
    }

    /// A new conditional in `scope`, to which its switches belong.
    pub(crate) fn conditional(&mut self, scope: ScopeId) -> ScopeId {
        let frame = self.scopes[scope.0 as usize].frame;
        self.scope_mut(Scope {
            pivot: None,
            conditional: None,
            frame,
        })
    }

    /// A branch of a conditional, in which a node runs if `pivot` does.
    pub(crate) fn branch(&mut self, conditional: ScopeId, pivot: NodeId) -> ScopeId {
        let frame = self.scopes[conditional.0 as usize].frame;
        self.scope_mut(Scope {
            pivot: Some(pivot),
            conditional: Some(conditional),
            frame,
        })
    }

    /// A new loop in `scope`. What enters it belongs to the returned scope, in which no other node is.
    pub(crate) fn frame(
        &mut self,
        scope: ScopeId,
        name: String,
        parallel_iterations: Option<i64>,
    ) -> ScopeId {
        let parent = self.scopes[scope.0 as usize].frame;
        let frame = self.frames.len();
        let id = self.scope_mut(Scope {
            pivot: None,
            conditional: None,
            frame: Some(frame),
        });
        self.frames.push(Frame {
            name,
            parallel_iterations,
            scope: id,
            parent,
            entered: HashMap::new(),
        });
        id
    }

    /// A part of a loop, the condition or the body. Its pivot is set later.
    pub(crate) fn part(&mut self, frame: ScopeId) -> ScopeId {
        let frame = self.scopes[frame.0 as usize].frame;
        self.scope_mut(Scope {
            pivot: None,
            conditional: None,
            frame,
        })
    }

    pub(crate) fn set_pivot(&mut self, scope: ScopeId, pivot: NodeId) {
        self.scopes[scope.0 as usize].pivot = Some(pivot);
    }

    /// Whether a tensor is dead whenever the scope is skipped.
    fn is_bound(&self, tensor: Tensor, scope: ScopeId) -> bool {
        let of = self.node(tensor.node).scope;
        of == scope || self.scopes[scope.0 as usize].conditional == Some(of)
    }

    /// Adds a node to a scope.
    pub(crate) fn add(&mut self, scope: ScopeId, mut node: Node<'a>) -> NodeId {
        node.scope = scope;
        if !node.inputs.iter().any(|&input| self.is_bound(input, scope)) {
            node.pivot = self.scopes[scope.0 as usize].pivot;
        }
        self.push(node)
    }

    /// Adds a node that is in `scope` as far as its inputs go, and whose outputs belong to `inside`.
    pub(crate) fn add_between(
        &mut self,
        scope: ScopeId,
        inside: ScopeId,
        node: Node<'a>,
    ) -> NodeId {
        let id = self.add(scope, node);
        self.node_mut(id).scope = inside;
        id
    }

    /// The tensor itself if it is bound to the scope, or else a copy of it that is.
    pub(crate) fn bind(&mut self, tensor: Tensor, scope: ScopeId, name: &str) -> Tensor {
        if scope == ScopeId::ROOT || self.is_bound(tensor, scope) {
            return tensor;
        }
        let identity = self.identity(tensor, name);
        Tensor::of(self.add(scope, identity))
    }

    fn identity(&self, tensor: Tensor, name: &str) -> Node<'a> {
        let data_type = self.data_type(tensor);
        Node::new(name.to_owned(), "Identity", vec![tensor], vec![data_type]).typed(data_type)
    }

    /// A copy of a tensor of the top level, under another name.
    pub(crate) fn copy(&mut self, tensor: Tensor, name: &str) -> Tensor {
        let identity = self.identity(tensor, name);
        Tensor::of(self.add(ScopeId::ROOT, identity))
    }

    /// An `Enter` node for the loop of the scope `frame`.
    pub(crate) fn enter(&self, frame: ScopeId, name: String, tensor: Tensor) -> Node<'a> {
        let data_type = self.data_type(tensor);
        let node = Node::new(name, "Enter", vec![tensor], vec![data_type]).typed(data_type);
        let Some(frame) = self.scopes[frame.0 as usize]
            .frame
            .and_then(|frame| self.frames.get(frame))
        else {
            return node;
        };
        let node = node.with("frame_name", value::text(&frame.name));
        match frame.parallel_iterations {
            Some(count) => node.with("parallel_iterations", value::int(count)),
            None => node,
        }
    }

    fn enter_constant(&mut self, frame: usize, tensor: Tensor) -> Tensor {
        if let Some(&inside) = self.frames[frame].entered.get(&tensor) {
            return inside;
        }
        let scope = self.frames[frame].scope;
        let outer = &self.node(tensor.node).name;
        let name = format!(
            "{}/{}",
            self.frames[frame].name,
            outer.rsplit('/').next().unwrap_or(outer)
        );
        let node = self
            .enter(scope, name, tensor)
            .with("is_constant", value::bool(true));
        let inside = Tensor::of(self.add(scope, node));
        self.frames[frame].entered.insert(tensor, inside);
        inside
    }

    /// A tensor from around the loop of the scope `frame`, as it is in every iteration.
    pub(crate) fn loop_constant(&mut self, frame: ScopeId, tensor: Tensor) -> Tensor {
        match self.scopes[frame.0 as usize].frame {
            Some(frame) => self.enter_constant(frame, tensor),
            None => tensor,
        }
    }

    /// A tensor of the top level, as it is inside of all the loops around a scope.
    pub(crate) fn bring(&mut self, tensor: Tensor, scope: ScopeId) -> Tensor {
        let mut around = Vec::new();
        let mut frame = self.scopes[scope.0 as usize].frame;
        while let Some(inner) = frame {
            around.push(inner);
            frame = self.frames[inner].parent;
        }
        around
            .into_iter()
            .rev()
            .fold(tensor, |tensor, frame| self.enter_constant(frame, tensor))
    }
}
