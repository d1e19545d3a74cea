//! Which release of TensorFlow an operation or an attribute came with.
//!
//! `since.tsv` compares the operations that releases register; `tools/op_since.py` writes it, and its header describes the lines. Between two of these
//! releases nothing is known: what one has and the one before lacks came somewhere in between.

use std::collections::HashMap;
use std::sync::LazyLock;

static TEXT: &str = include_str!("since.tsv");

struct Row {
    first: usize,
    attrs: Vec<(&'static str, usize)>,
}

static RELEASES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let first = TEXT.lines().next().unwrap_or_default();
    first.split('\t').collect()
});

static ROWS: LazyLock<HashMap<&'static str, Row>> =
    LazyLock::new(|| TEXT.lines().skip(1).filter_map(row).collect());

fn row(line: &'static str) -> Option<(&'static str, Row)> {
    let mut columns = line.split('\t');
    let name = columns.next()?;
    let first = match columns.next()? {
        "-" => 0,
        number => number.parse().ok()?,
    };
    let attrs = columns.map(|item| {
        let (attr, release) = item.split_once(':')?;
        Some((attr, release.parse().ok()?))
    });
    let attrs = attrs.collect::<Option<_>>()?;
    Some((name, Row { first, attrs }))
}

/// The releases that were compared, oldest first.
pub fn releases() -> &'static [&'static str] {
    &RELEASES
}

/// The first of [`releases`] that has an operation; `None` for one that no TensorFlow has.
pub fn operation(op: &str) -> Option<usize> {
    match ROWS.get(op) {
        Some(row) => Some(row.first),
        None => super::find(op).map(|_| 0),
    }
}

/// The first of [`releases`] whose operation `op` has the attribute; `None` where none has.
pub fn attribute(op: &str, attr: &str) -> Option<usize> {
    let later = ROWS.get(op).and_then(|row| {
        let found = row.attrs.iter().find(|(name, _)| *name == attr);
        found.map(|(_, release)| *release)
    });
    later.or_else(|| {
        let known = super::find(op)?.attrs.iter().any(|def| def.name == attr);
        known.then(|| operation(op))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        assert!(releases().len() > 3);
        for line in TEXT.lines().skip(1) {
            let (_, row) = row(line).expect(line);
            assert!(row.first < releases().len(), "{line}");
            assert!(
                row.attrs
                    .iter()
                    .all(|(_, at)| *at > row.first && *at < releases().len()),
                "{line}"
            );
        }
    }

    #[test]
    fn what_the_releases_notes_say() {
        let release = |index: Option<usize>| releases()[index.expect("known")];
        assert_eq!(release(operation("Conv2D")), "1.15.5");
        assert_eq!(release(attribute("Conv2D", "explicit_paddings")), "1.15.5");
        // The attribute is newer than the operation.
        assert_eq!(operation("BatchMatMulV2"), Some(0));
        assert!(attribute("BatchMatMulV2", "grad_x") > Some(0));
        assert_eq!(operation("NoSuchOperation"), None);
        assert_eq!(attribute("Conv2D", "no_such_attribute"), None);
    }
}
