//! Laws of the reducers.

use std::sync::Arc;

use perf_agent::graph::Reducer;
use perf_agent::runtime::fold;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn value(reducer: Reducer, current: Option<Value>, writes: Vec<Value>) -> Value {
    fold(reducer, current.map(Arc::new), writes).unwrap().value
}

fn numbers() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(-1_000_000_000..1_000_000_000_i64, 0..6)
}

fn messages() -> impl Strategy<Value = Vec<Value>> {
    let message = (0..8_u8, 0..100_u8).prop_map(|(id, n)| json!({ "id": id.to_string(), "n": n }));
    prop::collection::vec(message, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn append_folds_in_one_go_as_one_after_another(a in numbers(), b in numbers(), c in numbers()) {
        let at_once = value(Reducer::Append, Some(json!(a)), vec![json!(b), json!(c)]);
        let first = value(Reducer::Append, Some(json!(a)), vec![json!(b)]);
        prop_assert_eq!(at_once, value(Reducer::Append, Some(first), vec![json!(c)]));
    }

    #[test]
    fn append_keeps_what_was_there(a in numbers(), b in numbers()) {
        let folded = fold(Reducer::Append, Some(Arc::new(json!(a))), vec![json!(b)]).unwrap();
        prop_assert_eq!(folded.kept, a.len());
        prop_assert_eq!(&json!(folded.value.as_array().unwrap()[..a.len()]), &json!(a));
    }

    #[test]
    fn union_is_idempotent_and_has_no_twins(a in numbers(), b in numbers()) {
        let once = value(Reducer::Union, Some(json!([])), vec![json!(a), json!(b)]);
        let twice = value(Reducer::Union, Some(once.clone()), vec![json!(b), json!(a)]);
        prop_assert_eq!(&once, &twice);
        let unique: std::collections::HashSet<i64> = a.iter().chain(&b).copied().collect();
        prop_assert_eq!(once.as_array().unwrap().len(), unique.len());
    }

    #[test]
    fn sum_min_and_max_do_not_care_about_order(mut writes in numbers(), current in -1000..1000_i64) {
        prop_assume!(!writes.is_empty());
        let json = |writes: &[i64]| writes.iter().map(|n| json!(n)).collect::<Vec<_>>();
        for reducer in [Reducer::Sum, Reducer::Min, Reducer::Max] {
            let forward = value(reducer, Some(json!(current)), json(&writes));
            writes.reverse();
            prop_assert_eq!(forward, value(reducer, Some(json!(current)), json(&writes)));
        }
        let total: i64 = writes.iter().sum::<i64>() + current;
        prop_assert_eq!(value(Reducer::Sum, Some(json!(current)), json(&writes)), json!(total));
    }

    #[test]
    fn merge_keeps_the_last_write_of_each_key(pairs in prop::collection::vec((0..5_u8, 0..100_i64), 1..8)) {
        let writes = pairs.iter().map(|(key, n)| json!({ key.to_string(): n })).collect();
        let mut expected = Map::new();
        for (key, n) in &pairs {
            expected.insert(key.to_string(), json!(n));
        }
        prop_assert_eq!(value(Reducer::Merge, None, writes), Value::Object(expected));
    }

    #[test]
    fn messages_have_unique_ids_in_order_of_first_coming(a in messages(), b in messages()) {
        let folded = fold(Reducer::Messages, None, vec![json!(a), json!(b)]).unwrap().value;
        let mut expected: Vec<Value> = Vec::new();
        for message in a.iter().chain(&b) {
            match expected.iter_mut().find(|held| held["id"] == message["id"]) {
                Some(held) => *held = message.clone(),
                None => expected.push(message.clone()),
            }
        }
        prop_assert_eq!(folded, Value::Array(expected));
    }

    #[test]
    fn what_a_list_kept_is_really_unchanged(a in messages(), b in messages()) {
        let before = value(Reducer::Messages, None, vec![json!(a)]);
        let folded = fold(Reducer::Messages, Some(Arc::new(before.clone())), vec![json!(b)]).unwrap();
        let kept = folded.kept;
        prop_assert_eq!(&folded.value.as_array().unwrap()[..kept], &before.as_array().unwrap()[..kept]);
    }
}

#[test]
fn a_value_that_does_not_fit_its_reducer_is_an_error() {
    for (reducer, write) in [
        (Reducer::Append, json!(1)),
        (Reducer::Merge, json!([1])),
        (Reducer::Sum, json!("1")),
        (Reducer::Union, json!({})),
        (Reducer::Messages, json!("hello")),
        (Reducer::Min, json!(true)),
    ] {
        assert!(fold(reducer, None, vec![write]).is_err(), "{reducer:?}");
    }
    assert!(fold(Reducer::Max, Some(Arc::new(json!("a"))), vec![json!(1)]).is_err());
}
