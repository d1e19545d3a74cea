//! Lookup tables: the graph keeps them, with operations that fill them before the first call.
//!
//! A table is made by a node of the main graph and filled by the initialiser that loaders run, from constants or from a text file among the assets, or by
//! the restore operation, from the bundle. The expanded initialiser becomes part of the graph, for the tables that the outputs need; files are read now, and
//! what they say becomes constants. Whether a call changes a table is not known to the order of reads, so a table that is both changed and read is refused.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::super::constants::Content;
use super::super::error::{Changed, FreezeError, NodePlace, Update};
use super::super::graph::{Node, NodeId, ScopeId, Tensor};
use super::super::prune;
use super::super::table_ops::{fills_table, makes_table, named_table};
use super::super::text_table::{self, Columns, Room};
use super::super::variables::Handle;
use super::super::wire::{attr, value};
use super::{Done, Expander, Instance, Result, Slot, Value, Visit};

/// The name of the operation that fills all tables, which is TensorFlow 1's for it.
const INITIALISER: &str = "init_all_tables";

/// A handle that is handed on more often than this is not followed.
const MAX_HANDED_ON: usize = 64;

/// A `TensorShapeProto` of unknown rank.
const UNKNOWN_RANK: &[u8] = b"\x18\x01";

/// The tables of an expansion.
#[derive(Debug, Default)]
pub(crate) struct Tables<'a> {
    made: Vec<(NodeId, Handle<'a>)>,
    /// Tables of the object graph, by object.
    pub(crate) objects: HashMap<i32, Value>,
    /// The objects whose tables are being made, outermost first.
    pub(crate) making: Vec<i32>,
    /// Whether the initialiser is being expanded.
    is_filling: bool,
    /// Operations that were dropped, and the tables that they change.
    dropped: Vec<(NodePlace, NodeId)>,
    /// For what text files say.
    room: Room,
    /// The node that fills all tables, if there are any.
    pub(crate) initialiser: Option<NodeId>,
}

impl<'a, 'm> Expander<'a, 'm> {
    /// An operation that makes a table.
    pub(super) fn table(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        if visit.place.function.is_some() && self.tables.making.is_empty() {
            let reason = "a table that each call makes anew, which nothing can fill beforehand";
            return Ok(Self::refused(&visit, 1, reason));
        }
        let handle = Handle::of(visit.def);
        let named = named_table(visit.def.op);
        let done = self.copied(visit)?;
        if let Some(Value::Tensor(tensor)) = done.values.first() {
            if let Some(op) = named {
                self.graph.node_mut(tensor.node).op = op.into();
            }
            self.tables.made.push((tensor.node, handle));
        }
        Ok(done)
    }

    /// An operation that changes a table: kept in the initialiser, elsewhere an update.
    pub(super) fn table_change(&mut self, visit: Visit<'a, '_>) -> Result<Done> {
        let table = match visit.inputs.first() {
            Some(Value::Tensor(table)) => *table,
            _ => return self.plain(visit),
        };
        if self.tables.is_filling {
            return match visit.def.op {
                "InitializeTableFromTextFileV2" => self.fill_from_file(&visit, table),
                _ => self.copied(visit),
            };
        }
        let table = self.table_of(table);
        let name = self.graph.node(table).name.clone();
        if !self.updates.are_dropped {
            return Err(FreezeError::Updates {
                path: self.file.path.clone(),
                place: Box::new(visit.place.clone()),
                what: Changed::Table,
                name,
            });
        }
        self.pay(&visit.place, 1)?;
        self.updates.dropped.push(Update {
            what: Changed::Table,
            name,
            place: visit.place.clone(),
        });
        self.tables.dropped.push((visit.place, table));
        Ok(Done {
            controls: visit.controls,
            ..Done::default()
        })
    }

    /// The node that makes the table of a handle.
    fn table_of(&self, handle: Tensor) -> NodeId {
        let mut node = handle.node;
        for _ in 0..MAX_HANDED_ON {
            let found = self.graph.node(node);
            match found.inputs.as_slice() {
                [input] if !makes_table(&found.op) => node = input.node,
                _ => break,
            }
        }
        node
    }

    /// The lines of a text file, as constants.
    fn fill_from_file(&mut self, visit: &Visit<'a, '_>, table: Tensor) -> Result<Done> {
        let unknown = || self.refuse(&visit.place, "the file that it reads is no asset");
        let name = match visit.inputs.get(1) {
            Some(Value::Refused(refusal)) => refusal.asset.clone(),
            Some(Value::Tensor(tensor)) => {
                let name = self.graph.node(tensor.node).name.as_str();
                self.model.asset_of(name).map(str::to_owned)
            }
            _ => None,
        };
        let name = name.ok_or_else(unknown)?;
        let node = self.graph.node(self.table_of(table));
        let data_type = |name| node.data_type_attr(name).unwrap_or(0);
        let int = |name| visit.attr(name).and_then(attr::int);
        let columns = Columns {
            key: (int("key_index").unwrap_or(0), data_type("key_dtype")),
            value: (int("value_index").unwrap_or(0), data_type("value_dtype")),
            size: int("vocab_size").and_then(|size| u64::try_from(size).ok()),
            delimiter: visit
                .attr("delimiter")
                .and_then(attr::text)
                .unwrap_or("\t")
                .to_owned(),
            offset: int("offset").unwrap_or(0),
        };
        let [keys, values] = text_table::read(
            &self.file.folder,
            Path::new(&name),
            &columns,
            &mut self.tables.room,
        )
        .map_err(|problem| self.refuse(&visit.place, problem))?;
        Ok(self.import(visit, table, keys, values))
    }

    fn import(
        &mut self,
        visit: &Visit<'a, '_>,
        table: Tensor,
        keys: Content<'a>,
        values: Content<'a>,
    ) -> Done {
        let node = self.import_node(&visit.name, table, [keys, values], visit.scope);
        self.single(visit.scope, node.after(&visit.controls))
    }

    /// A node that fills a table with constants.
    fn import_node(
        &mut self,
        name: &str,
        table: Tensor,
        contents: [Content<'a>; 2],
        scope: ScopeId,
    ) -> Node<'a> {
        let types = contents.each_ref().map(Content::data_type);
        let mut inputs = vec![table];
        for (content, part) in contents.into_iter().zip(["keys", "values"]) {
            let constant = Node::constant(format!("{name}/{part}"), content);
            let mut constant = Tensor::of(self.graph.add(scope, constant));
            // A table of this kind is stored as a matrix, with which it can be filled only where the shape is not known beforehand.
            if self.graph.node(self.table_of(table)).op == "MutableDenseHashTableV2" {
                let data_type = self.graph.data_type(constant);
                let hidden = Node::new(
                    format!("{name}/{part}_of_any_shape"),
                    "PlaceholderWithDefault",
                    vec![constant],
                    vec![data_type],
                );
                let hidden = hidden
                    .with("dtype", value::data_type(data_type))
                    .with("shape", value::shape(UNKNOWN_RANK));
                constant = Tensor::of(self.graph.add(scope, hidden));
            }
            inputs.push(constant);
        }
        let mut node = Node::new(name.to_owned(), "LookupTableImportV2", inputs, Vec::new())
            .with("Tin", value::data_type(types[0]))
            .with("Tout", value::data_type(types[1]));
        node.is_effect = true;
        node
    }

    /// Expands what fills the tables that the outputs need: of the main graph's initialiser.
    pub(crate) fn fill_tables(
        &mut self,
        main: &mut Instance<'a, 'm>,
        outputs: &[Tensor],
    ) -> Result<()> {
        let needed = self.needed_tables(outputs)?;
        if needed.is_empty() {
            return Ok(());
        }
        let roots = self.initialisers(main, &needed);
        let mark = self.graph.nodes.len();
        self.tables.is_filling = true;
        self.visit(main, &roots)?;
        self.finish_filling(mark, &needed)
    }

    /// Expands what fills the tables that the outputs need, by `fill`, which is given the objects of tables.
    pub(crate) fn fill_objects(
        &mut self,
        outputs: &[Tensor],
        fill: &mut dyn FnMut(&mut Self, i32) -> Result<()>,
    ) -> Result<()> {
        let needed = self.needed_tables(outputs)?;
        if needed.is_empty() {
            return Ok(());
        }
        let is_needed = |(object, value): (&i32, &Value)| match value {
            Value::Tensor(table) if needed.contains(&self.table_of(*table)) => Some(*object),
            _ => None,
        };
        let mut objects: Vec<i32> = self.tables.objects.iter().filter_map(is_needed).collect();
        objects.sort_unstable();
        let mark = self.graph.nodes.len();
        self.tables.is_filling = true;
        for object in objects {
            fill(self, object)?;
        }
        self.finish_filling(mark, &needed)
    }

    /// The tables that the outputs look into. One of them may not be changed.
    fn needed_tables(&mut self, outputs: &[Tensor]) -> Result<HashSet<NodeId>> {
        if self.tables.made.is_empty() {
            return Ok(HashSet::new());
        }
        let outputs: Vec<NodeId> = outputs.iter().map(|tensor| tensor.node).collect();
        let is_live = prune::needed(&mut self.graph, &outputs);
        let made = self.tables.made.iter().map(|(table, _)| *table);
        let needed: HashSet<NodeId> = made.filter(|table| is_live[table.index()]).collect();
        self.tables.made.retain(|(table, _)| needed.contains(table));
        let mut changes = self.tables.dropped.iter();
        match changes.find(|(_, table)| needed.contains(table)) {
            Some((place, table)) => {
                let name = &self.graph.node(*table).name;
                let reason = format!("it changes the table `{name}`, which the outputs look into");
                Err(self.refuse(place, reason))
            }
            None => Ok(needed),
        }
    }

    /// The nodes of the main graph that the initialiser runs and that are given one of the tables.
    fn initialisers(&self, main: &Instance<'a, 'm>, needed: &HashSet<NodeId>) -> Vec<usize> {
        let is_needed = |value: &Value| match value {
            Value::Tensor(table) => needed.contains(&self.table_of(*table)),
            _ => false,
        };
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut stack = self.model.initialisers();
        while let Some(name) = stack.pop() {
            let Some(&index) = main.body.by_name.get(name) else {
                continue;
            };
            if !seen.insert(index) {
                continue;
            }
            let inputs = &main.body.nodes[index].inputs;
            let gives_table = |input: &&str| {
                let name = input.split(':').next().unwrap_or(input);
                let slot = main.body.by_name.get(name).map(|&node| &main.slots[node]);
                matches!(slot, Some(Slot::Done(done)) if done.values.iter().any(is_needed))
            };
            if inputs.iter().any(gives_table) {
                found.push(index);
            } else {
                stack.extend(inputs.iter().filter_map(|input| input.strip_prefix('^')));
            }
        }
        found.sort_unstable();
        found
    }

    /// Joins what was expanded since `mark`, and what the bundle has of tables, to one operation.
    fn finish_filling(&mut self, mark: usize, needed: &HashSet<NodeId>) -> Result<()> {
        let mut fills = Vec::new();
        for index in mark..self.graph.nodes.len() {
            let id = NodeId::from_index(index);
            let node = self.graph.node(id);
            // What a conditional decides is not known to have run.
            if let (true, ScopeId::ROOT, Some(&table)) =
                (fills_table(&node.op), node.scope, node.inputs.first())
            {
                fills.push((id, self.table_of(table)));
            }
        }
        fills.retain(|(_, table)| needed.contains(table));
        let mut fills_of: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        for (fill, table) in &fills {
            fills_of.entry(*table).or_default().push(*fill);
        }
        let made = std::mem::take(&mut self.tables.made);
        for (table, handle) in &made {
            let node = self.graph.node(*table);
            let name = node.name.clone();
            let place = NodePlace {
                node: name.clone(),
                op: node.op.to_string(),
                ..NodePlace::default()
            };
            if let Some(contents) = self.variables.of_table(handle, &place)? {
                let contents = contents.map(|index| Content::Variable {
                    index,
                    data_type: self.variables.get(index).data_type(),
                });
                let name = format!("{name}/restore");
                let node = self.import_node(&name, Tensor::of(*table), contents, ScopeId::ROOT);
                let restore = self.graph.add(ScopeId::ROOT, node);
                for &fill in fills_of.get(table).into_iter().flatten() {
                    self.graph.node_mut(fill).controls.push(restore);
                }
                fills.push((restore, *table));
            } else if !fills_of.contains_key(table) {
                let reason =
                    "nothing in the file fills this table in a way that a frozen graph can keep";
                return Err(self.refuse(&place, reason));
            }
        }
        let fills: Vec<NodeId> = fills.into_iter().map(|(fill, _)| fill).collect();
        self.tables.made = made;
        let node = Node::new(INITIALISER.to_owned(), "NoOp", Vec::new(), Vec::new());
        let node = self.graph.add(ScopeId::ROOT, node.after(&fills));
        self.tables.initialiser = Some(node);
        Ok(())
    }
}

impl Tables<'_> {
    /// The nodes that make the tables which are kept.
    pub(crate) fn into_nodes(self) -> Vec<NodeId> {
        self.made.into_iter().map(|(table, _)| table).collect()
    }
}
