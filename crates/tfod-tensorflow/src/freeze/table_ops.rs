//! What operations do with lookup tables.

/// Whether an operation makes a table.
pub(crate) fn makes_table(op: &str) -> bool {
    named_table(op).is_some()
}

/// The operation that makes such a table under a name: itself, or what stands for one that makes a table without a name, which only the process that made it
/// can find again.
pub(crate) fn named_table(op: &str) -> Option<&'static str> {
    Some(match op {
        "HashTableV2" | "AnonymousHashTable" => "HashTableV2",
        "MutableHashTableV2" | "AnonymousMutableHashTable" => "MutableHashTableV2",
        "MutableHashTableOfTensorsV2" | "AnonymousMutableHashTableOfTensors" => {
            "MutableHashTableOfTensorsV2"
        }
        "MutableDenseHashTableV2" | "AnonymousMutableDenseHashTable" => "MutableDenseHashTableV2",
        _ => return None,
    })
}

/// Whether an operation looks into a table: when it runs means nothing to others.
pub(crate) fn reads_table(op: &str) -> bool {
    matches!(
        op,
        "LookupTableFindV2" | "LookupTableSizeV2" | "LookupTableExportV2"
    )
}

/// Whether an operation adds to a table.
pub(crate) fn fills_table(op: &str) -> bool {
    matches!(
        op,
        "LookupTableImportV2"
            | "LookupTableInsertV2"
            | "InitializeTableV2"
            | "InitializeTableFromTextFileV2"
    )
}

/// Whether an operation changes a table.
pub(crate) fn changes_table(op: &str) -> bool {
    fills_table(op) || op == "LookupTableRemoveV2"
}
