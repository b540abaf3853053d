//! What every dialect must do, run over all of them, and what real pages must give.

use perf_agent::base::Coded;
use perf_agent::domain::{EngineKind, Knob, Observation};
use perf_agent::serving::{DIALECTS, Dialect};

use super::material::{check_golden, committed, observe, page};

/// Two pages of one engine, ten seconds apart, in which: 30 requests finished, 2 of them badly, 900 tokens were
/// generated, 5 → 7 run and 1 → 3 wait.
struct Sample {
    first: &'static str,
    last: &'static str,
}

fn sample(kind: EngineKind) -> Sample {
    match kind {
        EngineKind::Vllm => Sample {
            first: include_str!("pages/made_vllm_first.prom"),
            last: include_str!("pages/made_vllm_last.prom"),
        },
        EngineKind::Sglang => Sample {
            first: include_str!("pages/made_sglang_first.prom"),
            last: include_str!("pages/made_sglang_last.prom"),
        },
        EngineKind::Tgi => Sample {
            first: include_str!("pages/made_tgi_first.prom"),
            last: include_str!("pages/made_tgi_last.prom"),
        },
    }
}

fn for_every_dialect(law: impl Fn(&dyn Dialect, &Sample)) {
    for dialect in DIALECTS {
        law(dialect, &sample(dialect.kind()));
    }
}

fn window_of(dialect: &dyn Dialect, sample: &Sample) -> Observation {
    let pages = [page("a", 100.0, sample.first), page("a", 110.0, sample.last)];
    observe(dialect.kind(), &pages).unwrap()
}

fn close(actual: Option<f64>, expected: f64) {
    let actual = actual.unwrap_or(f64::NAN);
    assert!((actual - expected).abs() < 1e-9, "{actual} is not {expected}");
}

#[test]
fn counters_are_rates_and_gauges_are_distributions() {
    for_every_dialect(|dialect, sample| {
        let seen = window_of(dialect, sample);
        assert_eq!((seen.engine, seen.window_s, seen.replicas), (dialect.kind(), 10.0, 1));
        close(seen.finished_rps, 3.0);
        close(seen.generation_tok_s, 90.0);
        close(seen.error_rate, 2.0 / 30.0);
        let (running, waiting) = (seen.running.unwrap(), seen.waiting.unwrap());
        assert_eq!((running.last, running.mean, running.max, running.samples), (7.0, 6.0, 7.0, 2));
        assert_eq!((waiting.last, waiting.slope_per_s), (3.0, 0.2));
        assert!(seen.tpot.is_some() && seen.e2e.is_some() && seen.queue_time.is_some());
    });
}

#[test]
fn two_replicas_add_up() {
    for_every_dialect(|dialect, sample| {
        let one = window_of(dialect, sample);
        let two = observe(
            dialect.kind(),
            &[
                page("a", 100.0, sample.first),
                page("a", 110.0, sample.last),
                // Scrapes of one round are never quite simultaneous.
                page("b", 100.2, sample.first),
                page("b", 110.2, sample.last),
            ],
        )
        .unwrap();
        assert_eq!(two.replicas, 2);
        assert_eq!(two.running.unwrap().last, 2.0 * one.running.unwrap().last);
        assert_eq!(two.running.unwrap().samples, 2);
        close(two.finished_rps, 2.0 * one.finished_rps.unwrap());
        assert_eq!(two.error_rate, one.error_rate);
        assert_eq!(two.kv_cache_tokens, one.kv_cache_tokens);
        assert_eq!(
            two.kv_cache_utilization.map(|kv| kv.last),
            one.kv_cache_utilization.map(|kv| kv.last)
        );
        assert_eq!(two.e2e.as_ref().unwrap().count, 2 * one.e2e.as_ref().unwrap().count);
        assert_eq!(two.e2e.unwrap().p95_ms, one.e2e.unwrap().p95_ms);
    });
}

#[test]
fn a_restart_inside_the_window_loses_nothing_and_is_never_negative() {
    for_every_dialect(|dialect, sample| {
        // `last`, then a new process that has counted up to `first`.
        let pages = [
            page("a", 100.0, sample.first),
            page("a", 105.0, sample.last),
            page("a", 110.0, sample.first),
        ];
        let seen = observe(dialect.kind(), &pages).unwrap();
        let born = observe(
            dialect.kind(),
            &[page("a", 100.0, &zeroed(sample.first)), page("a", 110.0, sample.first)],
        )
        .unwrap();
        close(seen.finished_rps, 3.0 + born.finished_rps.unwrap());
        close(seen.generation_tok_s, 90.0 + born.generation_tok_s.unwrap());
        let counts = (seen.e2e.unwrap().count, born.e2e.unwrap().count);
        assert_eq!(counts.0, 30 - errors_without_latency(dialect.kind()) + counts.1);
    });
}

/// Failed requests have no latency in TGI's and SGLang's histograms of these samples.
fn errors_without_latency(kind: EngineKind) -> u64 {
    if kind == EngineKind::Vllm { 0 } else { 2 }
}

fn zeroed(text: &str) -> String {
    let zero = |line: &str| match line.rsplit_once(' ') {
        Some((series, _)) if !line.starts_with('#') => format!("{series} 0"),
        _ => line.to_owned(),
    };
    text.lines().map(zero).collect::<Vec<_>>().join("\n")
}

#[test]
fn one_page_has_gauges_but_no_rates() {
    for_every_dialect(|dialect, sample| {
        let seen = observe(dialect.kind(), &[page("a", 100.0, sample.first)]).unwrap();
        assert_eq!(seen.running.unwrap().last, 5.0);
        assert_eq!((seen.finished_rps, seen.error_rate, seen.e2e), (None, None, None));
        assert_eq!((seen.generation_tok_s, seen.prompt_tok_s), (None, None));
    });
}

#[test]
fn a_window_without_requests_has_rates_of_zero_and_unknown_latencies() {
    for_every_dialect(|dialect, sample| {
        let pages = [page("a", 100.0, sample.first), page("a", 110.0, sample.first)];
        let seen = observe(dialect.kind(), &pages).unwrap();
        close(seen.finished_rps, 0.0);
        assert_eq!(
            (seen.error_rate, seen.e2e, seen.tpot, seen.input_tokens),
            (None, None, None, None)
        );
    });
}

#[test]
fn the_page_of_another_engine_is_an_error_and_not_zeros() {
    for_every_dialect(|dialect, _| {
        for other in DIALECTS.iter().filter(|other| other.kind() != dialect.kind()) {
            let pages = [page("a", 1.0, sample(other.kind()).first)];
            let error = observe(dialect.kind(), &pages).unwrap_err();
            assert_eq!(error.code(), "serving.wrong_engine");
            assert!(error.to_string().contains(&other.kind().to_string()), "{error}");
        }
        for text in ["", "<html>not found</html>", "python_info 1\nprocess_cpu_seconds_total 3"] {
            let error = observe(dialect.kind(), &[page("a", 1.0, text)]).unwrap_err();
            assert_eq!(error.code(), "serving.wrong_engine");
        }
    });
}

#[test]
fn no_pages_at_all_are_too_little_history() {
    for_every_dialect(|dialect, _| {
        let error = observe(dialect.kind(), &[]).unwrap_err();
        assert_eq!(error.code(), "serving.not_enough_history");
    });
}

#[test]
fn what_the_page_cannot_tell_is_taken_from_the_launcher() {
    for_every_dialect(|dialect, sample| {
        assert_eq!(window_of(dialect, sample).config.int(Knob::MaxNumSeqs), Some(4));
    });
}

#[test]
fn made_pages_give_the_golden_observations() {
    for_every_dialect(|dialect, sample| {
        golden(&format!("made_{}.json", dialect.kind()), &window_of(dialect, sample));
    });
}

#[test]
fn real_vllm_pages_give_the_golden_observations() {
    for case in ["healthy", "kv_exhaustion"] {
        let text = |n: u32| committed(&format!("vllm_0.32_{case}_{n}.prom"));
        let pages = [page("a", 1000.0, &text(1)), page("a", 1009.0, &text(10))];
        golden(&format!("vllm_0.32_{case}.json"), &observe(EngineKind::Vllm, &pages).unwrap());
    }
}

#[test]
fn the_real_sglang_page_under_overload_reads_as_overload() {
    let text = committed("sglang_0.4_overload.prom");
    // The server counted from zero: its whole life is the window.
    let pages = [page("a", 0.0, &zeroed(&text)), page("a", 3600.0, &text)];
    let seen = observe(EngineKind::Sglang, &pages).unwrap();
    assert_eq!((seen.running.unwrap().last, seen.waiting.unwrap().last), (162.0, 2826.0));
    assert_eq!(seen.kv_cache_utilization.unwrap().last, 0.28);
    let ttft = seen.ttft.as_ref().unwrap();
    // 77 % waited longer than the last edge: the percentile is that edge, the edge's fraction tells the truth.
    assert_eq!((ttft.count, ttft.p95_ms), (11_008, 30_000.0));
    assert!((ttft.edges.last().unwrap().fraction - 2513.0 / 11_008.0).abs() < 1e-12);
    assert_eq!((seen.preemptions_per_s, seen.finished_rps, seen.tpot), (None, None, None));
    assert!(seen.itl.is_some(), "the old name of the inter-token histogram is read");
}

fn golden(name: &str, seen: &Observation) {
    check_golden(name, &(serde_json::to_string_pretty(seen).unwrap() + "\n"));
}
