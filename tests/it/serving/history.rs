//! The bounded page history.

use perf_agent::base::Millis;
use perf_agent::serving::PageHistory;

use super::material::page;

fn times(history: &PageHistory, now_s: u64, window_s: f64) -> Vec<(String, u64)> {
    let pages = history.window(Millis(now_s * 1000), window_s);
    pages.into_iter().map(|page| (page.backend, page.at.0 / 1000)).collect()
}

#[test]
fn a_window_holds_both_ends_backend_by_backend_oldest_first() {
    let history = PageHistory::new(100);
    for at in (0..=60).step_by(5) {
        history.push(page("b", f64::from(at), "x 1"));
        history.push(page("a", f64::from(at), "x 1"));
    }
    let expected = [("a", 50), ("a", 55), ("a", 60), ("b", 50), ("b", 55), ("b", 60)];
    assert_eq!(times(&history, 60, 10.0), expected.map(|(b, at)| (b.to_owned(), at)));
    // A page from after the moment asked for is not seen: a replay gives what was known then.
    assert_eq!(times(&history, 52, 10.0).last(), Some(&("b".to_owned(), 50)));
    assert_eq!(times(&history, 60, -5.0).len(), 2);
    assert_eq!(times(&history, 60, 1e30).len(), 26);
}

#[test]
fn the_oldest_page_makes_room_and_time_never_runs_back() {
    let history = PageHistory::new(3);
    for at in [1.0, 2.0, 3.0, 4.0, 2.5, 4.0] {
        history.push(page("a", at, "x 1"));
    }
    assert_eq!(times(&history, 9, 100.0), [2, 3, 4].map(|at| ("a".to_owned(), at)));
    assert_eq!(history.oldest("a"), Some(Millis(2000)));
    history.forget("a");
    assert_eq!((history.oldest("a"), times(&history, 9, 100.0).len()), (None, 0));
}
