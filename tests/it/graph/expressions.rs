//! Conditions and templates.

use std::collections::BTreeMap;

use perf_agent::graph::{Expression, render_args, render_text};
use serde_json::{Value, json};

fn scope() -> BTreeMap<String, Value> {
    let scope = json!({
        "list": [1, 2], "empty": [], "n": 3, "x": 1.5, "yes": true, "none_yet": null, "text": "ab",
        "big": 9_007_199_254_740_993_i64, "map": { "z": 1, "a": { "b": [10, 20] } },
        "context": { "approval": "never" }, "visits": { "propose": 2 },
    });
    serde_json::from_value(scope).unwrap()
}

fn eval(text: &str) -> Result<bool, String> {
    Expression::compile(text)?.eval_bool(&scope())
}

#[test]
fn conditions_of_the_optimize_graph_evaluate() {
    assert_eq!(eval("none_yet is none and visits.propose < 3"), Ok(true));
    assert_eq!(eval("context.approval == 'never'"), Ok(true));
    assert_eq!(eval("context.approval != 'never' or not yes"), Ok(false));
    assert_eq!(eval("map is not none"), Ok(true));
    assert_eq!(eval("none_yet == none"), Ok(true));
    assert_eq!(eval("n == none"), Ok(false));
}

#[test]
fn the_operators_keep_their_meaning_when_guarded() {
    for truth in [
        "n + 1 == 4",
        "n == 3.0",
        "1 < n < 4",
        "(1 if yes else 2) == 1",
        "list | length == 2",
        "list[0] == 1",
        "list[-1] == 2",
        "list[1:] == [2]",
        "map['a'].b[1] == 20",
        "'a' in text",
        "1 in list",
        "3 not in list",
        "'z' in map",
        "text ~ 'c' == 'abc'",
        "text in ['ab', 'cd']",
        "not (n > 5) and (yes or n > 5)",
        "missing is not defined",
        "(missing | default(0)) == 0",
        "-n < 0 and n ** 2 == 9 and n // 2 == 1 and n % 2 == 1",
        "list | map('string') | join(',') == '1,2'",
        "{'k': n}.k == 3",
        "empty == []",
        "text == \"ab\" and text != 'a\\\"b\\n'",
    ] {
        assert_eq!(eval(truth), Ok(true), "{truth}");
    }
}

#[test]
fn a_list_is_never_compared_with_a_number() {
    let error = eval("list > 3").unwrap_err();
    assert_eq!(error, "`list > 3`: `>` cannot compare sequence with number");
    for unlike in ["text > 3", "text == 3", "yes == 1", "list < list", "n in 3", "map >= map"] {
        assert!(eval(unlike).is_err(), "{unlike}");
    }
}

#[test]
fn a_name_that_is_not_set_is_an_error_and_not_false() {
    for unset in ["missing", "missing == 1", "not missing", "yes and missing", "map.q", "map.q > 1"]
    {
        assert!(eval(unset).unwrap_err().contains("not set"), "{unset}: {:?}", eval(unset));
    }
    assert_eq!(eval("yes or missing"), Ok(true), "what is not looked at is not missed");
}

#[test]
fn only_a_boolean_is_an_answer() {
    for other in
        ["n", "text", "list", "none_yet", "n and yes", "not list", "1 if yes else 2", "yes or n"]
    {
        let result = eval(other);
        // `yes or n` stops at its first side.
        assert!(result.is_err() || other == "yes or n", "{other}: {result:?}");
    }
}

#[test]
fn an_expression_cannot_run_away() {
    let heavy = "('x' * 10000000) == 'x'";
    assert!(eval(heavy).unwrap_err().contains("too many steps"), "{:?}", eval(heavy));
    let long = vec!["1"; 5_000].join(" + ");
    assert!(eval(&format!("{long} > 0")).unwrap_err().contains("longer than"));
    assert!(eval(&format!("{}1{} > 0", "(".repeat(500), ")".repeat(500))).is_err());
}

#[test]
fn the_names_of_an_expression_are_its_roots() {
    let expression = Expression::compile("a.b > c[d] and e is none and range(3)[0] == 0").unwrap();
    let names: Vec<&str> = expression.names().iter().map(String::as_str).collect();
    assert_eq!(names, ["a", "c", "d", "e"]);
}

#[test]
fn a_condition_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Expression::compile("a").unwrap());
}

#[test]
fn what_does_not_parse_does_not_compile() {
    for wrong in ["", "a b", "a >", "a | nofilter(", "{{ a }}", "a; b"] {
        assert!(Expression::compile(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_lone_expression_keeps_its_type() {
    let template = json!({
        "number": "{{ n }}", "float": "{{ x }}", "flag": "{{ yes }}", "nothing": "{{ none_yet }}",
        "list": "{{ list }}", "deep": [{ "path": "{{ map.a.b[-1] }}" }], "sum": "{{ n + 1 }}",
        "text": "n is {{ n }}", "plain": "as it is", "fixed": 7, "map": "{{ map }}", "big": "{{ big }}",
        "filtered": "{{ list | length }}", "chosen": "{{- 'a' if yes else 'b' -}}",
    });
    let filled = render_args(&template, &scope()).unwrap();
    let expected = json!({
        "number": 3, "float": 1.5, "flag": true, "nothing": null, "list": [1, 2],
        "deep": [{ "path": 20 }], "sum": 4, "text": "n is 3", "plain": "as it is", "fixed": 7,
        "map": { "z": 1, "a": { "b": [10, 20] } }, "big": 9_007_199_254_740_993_i64,
        "filtered": 2, "chosen": "a",
    });
    assert_eq!(filled, expected);
    assert_eq!(
        filled["map"].to_string(),
        r#"{"z":1,"a":{"b":[10,20]}}"#,
        "the order of keys stays"
    );
}

#[test]
fn a_template_with_an_unset_name_is_an_error() {
    for template in
        ["{{ missing }}", "{{ map.q }}", "{{ list[7] }}", "x {{ missing }}", "{{ missing + 1 }}"]
    {
        assert!(render_args(&json!(template), &scope()).is_err(), "{template}");
    }
    assert!(render_text("{% if missing %}x{% endif %}", &scope()).is_err());
    assert_eq!(render_text("{% if missing is defined %}x{% endif %}", &scope()), Ok(String::new()));
}

#[test]
fn a_text_is_not_escaped() {
    let text = "{% for i in list %}<{{ i }}>{% endfor %} {{ map | tojson }}";
    assert_eq!(
        render_text(text, &scope()),
        Ok(r#"<1><2> {"a": {"b": [10, 20]}, "z": 1}"#.to_owned())
    );
}
