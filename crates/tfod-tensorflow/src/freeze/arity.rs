//! The inputs and outputs of a node: what its operation's definition and its attributes make of them.

use crate::op_defs::{ArgDef, ArgKind, ArgType, OpDef};

use super::wire::{Attr, attr};

/// More tensors in one list than any real graph has; a larger number is an attack or damage.
const MAX_LIST: i64 = 1 << 20;

/// The attributes of a node: encoded values by name.
pub(crate) trait Attrs {
    fn find(&self, name: &str) -> Option<&[u8]>;
}

impl Attrs for [(&str, &[u8])] {
    fn find(&self, name: &str) -> Option<&[u8]> {
        attr::find(self, name).copied()
    }
}

impl Attrs for [Attr<'_>] {
    fn find(&self, name: &str) -> Option<&[u8]> {
        attr::find(self, name).map(|value| &**value)
    }
}

impl OpDef<'_> {
    fn attr<'b>(
        &'b self,
        attrs: &'b (impl Attrs + ?Sized),
        name: &str,
    ) -> Result<&'b [u8], String> {
        let found = attrs.find(name).or_else(|| self.default(name));
        found.ok_or_else(|| format!("attribute `{name}` is missing; the operation needs it"))
    }

    fn element_type(&self, attrs: &(impl Attrs + ?Sized), of: ArgType<'_>) -> Result<i32, String> {
        match of {
            ArgType::Fixed(number) => Ok(number),
            ArgType::Attr(name) => attr::data_type(self.attr(attrs, name)?)
                .ok_or_else(|| format!("attribute `{name}` must be an element type")),
        }
    }

    /// The number of an argument's tensors, at most [`MAX_LIST`] or the length of the node's own list of types.
    fn count_of(&self, attrs: &(impl Attrs + ?Sized), arg: &ArgDef<'_>) -> Result<usize, String> {
        match arg.kind {
            ArgKind::One(_) => Ok(1),
            ArgKind::Many(_, count) => {
                let found = attr::int(self.attr(attrs, count)?);
                let number = found.filter(|number| (0..=MAX_LIST).contains(number)).ok_or_else(|| {
                    format!("attribute `{count}` must be a number of tensors, from 0 to {MAX_LIST}, and is {found:?}")
                })?;
                Ok(usize::try_from(number).unwrap_or(0))
            }
            ArgKind::Types(list) => Ok(self.type_list(attrs, list)?.len()),
        }
    }

    fn type_list(&self, attrs: &(impl Attrs + ?Sized), list: &str) -> Result<Vec<i32>, String> {
        let types = attr::types(self.attr(attrs, list)?);
        types.ok_or_else(|| format!("attribute `{list}` must be a list of element types"))
    }

    /// The element types of an argument's tensors.
    fn types_of(
        &self,
        attrs: &(impl Attrs + ?Sized),
        arg: &ArgDef<'_>,
    ) -> Result<Vec<i32>, String> {
        match arg.kind {
            ArgKind::One(of) => Ok(vec![self.element_type(attrs, of)?]),
            ArgKind::Many(of, _) => Ok(vec![
                self.element_type(attrs, of)?;
                self.count_of(attrs, arg)?
            ]),
            ArgKind::Types(list) => self.type_list(attrs, list),
        }
    }

    fn types(
        &self,
        attrs: &(impl Attrs + ?Sized),
        args: &[ArgDef<'_>],
    ) -> Result<Vec<i32>, String> {
        let mut types = Vec::with_capacity(args.len());
        for arg in args {
            types.append(&mut self.types_of(attrs, arg)?);
        }
        Ok(types)
    }

    /// The element types of all inputs.
    pub(crate) fn input_types(&self, attrs: &(impl Attrs + ?Sized)) -> Result<Vec<i32>, String> {
        self.types(attrs, &self.inputs)
    }

    /// The element types of all outputs.
    pub(crate) fn output_types(&self, attrs: &(impl Attrs + ?Sized)) -> Result<Vec<i32>, String> {
        self.types(attrs, &self.outputs)
    }

    /// The place among all outputs of tensor `index` of the output argument `name`.
    pub(crate) fn port(
        &self,
        attrs: &(impl Attrs + ?Sized),
        name: &str,
        index: usize,
    ) -> Result<usize, String> {
        let mut before = 0;
        for arg in &self.outputs {
            let count = self.count_of(attrs, arg)?;
            if arg.name == name {
                return if index < count {
                    Ok(before + index)
                } else {
                    Err(format!(
                        "output `{name}` has {count} tensors, and number {index} is asked for"
                    ))
                };
            }
            before += count;
        }
        let names: Vec<&str> = self.outputs.iter().map(|arg| arg.name).collect();
        Err(format!(
            "it has no output `{name}`; its outputs are {names:?}"
        ))
    }

    /// The output argument of the tensor at a place among all outputs, and the tensor's number in it.
    pub(crate) fn output_at(
        &self,
        attrs: &(impl Attrs + ?Sized),
        port: usize,
    ) -> Result<(&str, usize), String> {
        let mut before = 0;
        for arg in &self.outputs {
            let count = self.count_of(attrs, arg)?;
            if port < before + count {
                return Ok((arg.name, port - before));
            }
            before += count;
        }
        Err(format!(
            "it has {before} outputs, and number {port} is asked for"
        ))
    }
}
