//! What operations do with lookup tables.

/// Whether an operation makes a table that is known by a name.
pub(crate) fn makes_table(op: &str) -> bool {
    matches!(
        op,
        "HashTableV2"
            | "MutableHashTableV2"
            | "MutableHashTableOfTensorsV2"
            | "MutableDenseHashTableV2"
    )
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
