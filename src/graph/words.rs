//! The words minijinja brings with it: the loader must know them to tell a slip from a name.

/// Filters of the language.
pub(super) const FILTERS: [&str; 47] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

/// Tests of the language, those with a sign for a name apart.
pub(super) const TESTS: [&str; 36] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Functions the language brings.
pub(super) const FUNCTIONS: [&str; 3] = ["dict", "namespace", "range"];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::graph::Expression;

    #[test]
    fn every_listed_filter_and_test_exists_in_the_language() {
        let scope = BTreeMap::new();
        for filter in FILTERS {
            let known = Expression::compile(&format!("'{filter}' is filter")).unwrap();
            assert_eq!(known.eval_bool(&scope), Ok(true), "{filter}");
        }
        for test in TESTS {
            let known = Expression::compile(&format!("'{test}' is test")).unwrap();
            assert_eq!(known.eval_bool(&scope), Ok(true), "{test}");
        }
    }
}
