//! The launcher and the scraper against real vLLM: `. tests/vllm/env.sh`, then run with `--ignored real_vllm`.

use std::sync::Arc;
use std::time::Duration;

use perf_agent::base::{EffectKey, SystemClock};
use perf_agent::domain::{EngineKind, Knob, KnobValue, ServingConfig};
use perf_agent::serving::process::{ProcessLauncher, ProcessOptions};
use perf_agent::serving::{
    Backends, Error, Health, Launcher, Observe, Purpose, Running, ScrapeOptions, Scraped,
    http_client,
};

use super::external::deployment;

fn eager(memory_share: f64) -> ServingConfig {
    ServingConfig::default()
        .with(Knob::MaxNumSeqs, KnobValue::Int(4))
        .with(Knob::EnforceEager, KnobValue::Bool(true))
        .with(Knob::GpuMemoryUtilization, KnobValue::Float(memory_share))
        .with(Knob::CpuOmpThreadsBind, KnobValue::Text("0-1".to_owned()))
        .with(Knob::CpuKvCacheSpaceGib, KnobValue::Int(1))
}

async fn open(options: &ProcessOptions) -> Arc<ProcessLauncher> {
    Arc::new(ProcessLauncher::open(options.clone(), Arc::new(SystemClock)).await.unwrap())
}

async fn chat(running: &Running) -> u16 {
    let body = serde_json::json!({
        "model": "tiny",
        "messages": [{"role": "user", "content": "Say something about the sea."}],
        "max_tokens": 24,
        "ignore_eos": true,
    });
    let client = http_client(Duration::from_secs(60)).unwrap();
    let url = format!("{}/v1/chat/completions", running.backend.url);
    client.post(url).json(&body).send().await.unwrap().status().as_u16()
}

#[tokio::test]
#[ignore = "starts real vLLM: about a minute on two cores"]
async fn real_vllm_is_refused_started_observed_taken_over_and_stopped() {
    let (Ok(program), Ok(model)) = (std::env::var("VLLM_BIN"), std::env::var("VLLM_MODEL")) else {
        eprintln!("skipped: no VLLM_BIN and VLLM_MODEL; source tests/vllm/env.sh");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let options = ProcessOptions {
        args: vec!["serve".to_owned(), model],
        ports: 18_300..=18_303,
        start_timeout_s: 300.0,
        ..ProcessOptions::new("chat", EngineKind::Vllm, "tiny", program, dir.path())
    };
    let launcher = open(&options).await;

    let key = |name: &str| EffectKey(name.to_owned());
    // vLLM's attention on CPUs takes blocks of multiples of 32 tokens.
    let wrong = eager(0.4).with(Knob::BlockSize, KnobValue::Int(16));
    let refused = launcher.launch(&key("wrong"), &wrong, Purpose::Trial).await.unwrap_err();
    let Error::StartFailed { reason, last_lines } = refused else { panic!("{refused}") };
    println!("refused: {reason}\n  {} lines", last_lines.len());
    assert!(reason.contains("No common block size for 16"), "{reason}\n{last_lines:#?}");

    let running = launcher.launch(&key("good"), &eager(0.4), Purpose::Stable).await.unwrap();
    println!("healthy after {} ms", running.ready.unwrap().since(running.started));
    let backends = Backends::Launched(launcher.clone());
    let scrapes = ScrapeOptions { interval_s: 1.0, ..ScrapeOptions::default() };
    let here = deployment(EngineKind::Vllm, ServingConfig::default());
    let scraped =
        Scraped::start(&here, backends, scrapes, Arc::new(SystemClock), None, None).unwrap();
    let requests = futures::future::join_all((0..8).map(|_| chat(&running)));
    let (statuses, seen) = tokio::join!(requests, scraped.observe(20.0, None));
    let seen = seen.unwrap();
    println!("{}", serde_json::to_string(&seen).unwrap());
    assert_eq!(statuses, [200; 8]);
    assert!((seen.finished_rps.unwrap() * seen.window_s - 8.0).abs() < 1e-6);
    assert_eq!(seen.config.float(Knob::GpuMemoryUtilization), Some(0.4));
    assert_eq!(seen.config.int(Knob::MaxNumSeqs), Some(4), "the launcher knows what no page says");
    assert!(seen.running.unwrap().max <= 4.0 && seen.ttft.is_some() && seen.itl.is_some());

    // A scrape under way holds the launcher for a moment longer.
    let first = Arc::downgrade(&launcher);
    drop((scraped, launcher));
    while first.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
    let next = open(&options).await;
    assert_eq!(next.running().await.unwrap(), std::slice::from_ref(&running));
    assert_eq!(next.health(&running.backend.id).await.unwrap(), Health::Healthy);
    next.stop(&running.backend.id).await.unwrap();
    assert_eq!(next.running().await.unwrap(), []);
}
