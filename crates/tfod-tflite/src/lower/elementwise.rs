//! Arithmetic, element by element.
//!
//! TFLite takes bytes to be quantised, so arithmetic on them is done in 32-bit integers.

use tfod_graph::{Binary, Compare, DType, Node, Unary};

use super::{Lowering, unsupported};
use crate::Error;
use crate::emit::TensorId;
use crate::operator::{Activation, Arithmetic, Operator, Plain};

/// Runtimes repeat elements along the axes of at most this many dimensions.
const MOST_DIMENSIONS: usize = 4;

impl Lowering<'_, '_> {
    pub(super) fn unary(&mut self, node: &Node, unary: Unary) -> Result<TensorId, Error> {
        let value = node.input(0)?;
        let x = self.find(value)?;
        let (plain, activation) = match unary {
            Unary::Relu => (Plain::Relu, Some(Activation::Relu)),
            Unary::Relu6 => (Plain::Relu6, Some(Activation::Relu6)),
            Unary::Sigmoid => (Plain::Logistic, None),
            Unary::Exp => (Plain::Exp, None),
            Unary::Log => (Plain::Log, None),
            Unary::Round => (Plain::Round, None),
            Unary::Sqrt => (Plain::Sqrt, None),
            Unary::Abs => (Plain::Abs, None),
        };
        // Activations of integers have no kernels.
        if let Some(activation) = activation
            && self.emitter.dtype(x) == DType::F32
            && self.is_free(value, x)
            && self.emitter.activate(x, activation)
        {
            self.emitter.rename(x, &node.name);
            return Ok(x);
        }
        self.result(node, Operator::Plain(plain), &[x])
    }

    pub(super) fn binary(&mut self, node: &Node, binary: Binary) -> Result<TensorId, Error> {
        let arithmetic = |kind| Operator::Arithmetic(kind, Activation::None);
        let operator = match binary {
            Binary::Add => arithmetic(Arithmetic::Add),
            Binary::Sub => arithmetic(Arithmetic::Sub),
            Binary::Mul => arithmetic(Arithmetic::Mul),
            Binary::Div => arithmetic(Arithmetic::Div),
            Binary::FloorDiv => Operator::Plain(Plain::FloorDiv),
            Binary::Maximum => Operator::Plain(Plain::Maximum),
            Binary::Minimum => Operator::Plain(Plain::Minimum),
        };
        self.numeric(node, operator)
    }

    pub(super) fn compare(&mut self, node: &Node, compare: Compare) -> Result<TensorId, Error> {
        let plain = match compare {
            Compare::Less => Plain::Less,
            Compare::Greater => Plain::Greater,
            Compare::GreaterEqual => Plain::GreaterEqual,
            Compare::Equal => Plain::Equal,
        };
        self.numeric(node, Operator::Plain(plain))
    }

    /// An operator on numbers: bytes are taken as 32-bit integers, and a result of the inputs' type is turned back.
    fn numeric(&mut self, node: &Node, operator: Operator) -> Result<TensorId, Error> {
        let own = self.emitter.dtype(self.operand(node, 0)?);
        if own != DType::U8 {
            return self.elementwise(node, operator);
        }
        self.check_dimensions(node)?;
        let mut operands = self.operands(node)?;
        for (position, operand) in operands.iter_mut().enumerate() {
            let name = format!("{}/wide_{position}", node.name);
            *operand = self.cast(&name, *operand, DType::I32);
        }
        let (dtype, sizes) = self.typed(node.output()?)?;
        if dtype != own {
            return self.result(node, operator, &operands);
        }
        let name = format!("{}/wide", node.name);
        let wide = self
            .emitter
            .add(&name, operator, &operands, DType::I32, &sizes);
        self.result(node, Operator::Cast(DType::I32, own), &[wide])
    }

    /// An operator with broadcasting, of all inputs.
    pub(super) fn elementwise(
        &mut self,
        node: &Node,
        operator: Operator,
    ) -> Result<TensorId, Error> {
        self.check_dimensions(node)?;
        let operands = self.operands(node)?;
        self.result(node, operator, &operands)
    }

    fn check_dimensions(&self, node: &Node) -> Result<(), Error> {
        let to = self.typed(node.output()?)?.1;
        let mut operands = self.operands(node)?.into_iter();
        if to.len() > MOST_DIMENSIONS && operands.any(|id| self.emitter.shape(id) != to) {
            return Err(unsupported(
                &node.name,
                format!("the repetition of elements along {} dimensions", to.len()),
                "four dimensions at most",
            ));
        }
        Ok(())
    }
}
