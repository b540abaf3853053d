//! Servers as processes: a stand-in program is really started, found again, restarted and ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use perf_agent::base::{Coded, EffectKey, SystemClock};
use perf_agent::domain::{EngineKind, Knob, KnobValue, ServingConfig};
use perf_agent::serving::process::{ProcessLauncher, ProcessOptions};
use perf_agent::serving::{Error, Health, Launcher, Purpose, Running};

/// A launcher's place on disk, and ports that no other test uses. Ends what is left when the test is over.
struct Place {
    dir: tempfile::TempDir,
    options: ProcessOptions,
}

impl Place {
    fn new(mode: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/serving/fake_engine.py");
        let options = ProcessOptions {
            args: vec![script.display().to_string()],
            env: vec![("FAKE_ENGINE".to_owned(), mode.to_owned())],
            ports: free_ports(),
            start_timeout_s: 30.0,
            grace_s: 10.0,
            poll_ms: 20,
            ..ProcessOptions::new("chat", EngineKind::Vllm, "tiny", "python3", dir.path())
        };
        Self { dir, options }
    }

    async fn open(&self) -> ProcessLauncher {
        ProcessLauncher::open(self.options.clone(), Arc::new(SystemClock)).await.unwrap()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Processes that carry this place's mark.
    fn processes(&self) -> Vec<u32> {
        let mark = format!("PERF_AGENT_BACKEND={}#", self.path().canonicalize().unwrap().display());
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let marked = |pid: &u32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            runs(*pid) && String::from_utf8_lossy(&environ).contains(&mark)
        };
        pids.filter(marked).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

/// Whether a process is there and not just the zombie of one.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z"))
}

/// Four ports that no other test of this run has, below those the kernel hands out; another run starts elsewhere.
fn free_ports() -> std::ops::RangeInclusive<u16> {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let run = u16::try_from(std::process::id() % 200).unwrap() * 100;
    let port = 10_000 + run + 4 * TAKEN.fetch_add(1, Ordering::SeqCst);
    port..=port + 3
}

fn key(name: &str) -> EffectKey {
    EffectKey(name.to_owned())
}

fn seats(n: i64) -> ServingConfig {
    ServingConfig::default()
        .with(Knob::MaxNumSeqs, KnobValue::Int(n))
        .with(Knob::CpuOmpThreadsBind, KnobValue::Text("0-1".to_owned()))
}

async fn get(running: &Running, path: &str) -> String {
    let client = perf_agent::serving::http_client(std::time::Duration::from_secs(5)).unwrap();
    let answer = client.get(format!("{}{path}", running.backend.url)).send().await;
    match answer {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// Makes a server crash and returns once its process is gone: its sockets close a moment before it ends.
async fn crash(place: &Place, running: &Running) {
    let record = std::fs::read(place.path().join("backends.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let pid = record[&running.backend.id]["process"]["pid"].as_u64().unwrap();
    get(running, "/crash").await;
    while runs(u32::try_from(pid).unwrap()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_config_becomes_a_healthy_server_and_stop_ends_it() {
    let place = Place::new("late");
    let launcher = place.open().await;
    let running = launcher.launch(&key("a"), &seats(16), Purpose::Trial).await.unwrap();
    assert!(running.ready.is_some_and(|ready| ready >= running.started));
    assert_eq!(launcher.health(&running.backend.id).await.unwrap(), Health::Healthy);
    let argv = get(&running, "/argv").await;
    assert!(argv.ends_with("--served-model-name tiny --max-num-seqs 16 | 0-1"), "{argv}");

    launcher.stop(&running.backend.id).await.unwrap();
    launcher.stop(&running.backend.id).await.unwrap();
    assert_eq!((launcher.running().await.unwrap(), place.processes()), (vec![], vec![]));
    let gone = launcher.health(&running.backend.id).await.unwrap_err();
    assert_eq!(gone.code(), "serving.unknown_backend");
}

#[tokio::test]
async fn the_same_key_is_the_same_server_even_when_asked_twice_at_once() {
    let place = Place::new("late");
    let launcher = place.open().await;
    let (config, key_a) = (seats(4), key("a"));
    let (first, second) = tokio::join!(
        launcher.launch(&key_a, &config, Purpose::Stable),
        launcher.launch(&key_a, &config, Purpose::Stable),
    );
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(place.processes().len(), 1);
    let other = launcher.launch(&key("b"), &seats(8), Purpose::Canary).await.unwrap();
    assert_eq!((launcher.running().await.unwrap().len(), place.processes().len()), (2, 2));
    launcher.assign(&other.backend.id, Purpose::Stable).await.unwrap();
    let running = launcher.running().await.unwrap();
    assert!(running.iter().all(|running| running.purpose == Purpose::Stable));
}

#[tokio::test]
async fn a_spare_is_taken_over_by_the_canary_with_its_config_and_no_other() {
    let place = Place::new("");
    let launcher = place.open().await;
    let tried = launcher.launch(&key("trial"), &seats(16), Purpose::Trial).await.unwrap();
    launcher.keep(&tried.backend.id).await.unwrap();
    drop(launcher);
    // Even by the next agent, and under the canary's key from then on.
    let launcher = place.open().await;
    let canary = launcher.launch(&key("canary"), &seats(16), Purpose::Canary).await.unwrap();
    assert_eq!((&canary.backend, canary.purpose), (&tried.backend, Purpose::Canary));
    assert_eq!(
        launcher.launch(&key("canary"), &seats(16), Purpose::Canary).await.unwrap(),
        canary,
        "asked again after a crash"
    );
    launcher.release().await.unwrap();
    assert_eq!(launcher.running().await.unwrap(), std::slice::from_ref(&canary));
    // The trial's own key is free again, and starts another server.
    let other = launcher.launch(&key("trial"), &seats(8), Purpose::Trial).await.unwrap();
    assert_ne!(other.backend, canary.backend);
    launcher.keep(&other.backend.id).await.unwrap();
    let canary = launcher.launch(&key("next"), &seats(4), Purpose::Canary).await.unwrap();
    let running = launcher.running().await.unwrap();
    assert_eq!(running.len(), 2, "a spare with another config is ended: {running:#?}");
    assert_ne!(canary.backend, other.backend);
}

#[tokio::test]
async fn a_failed_start_tells_the_engines_own_reason_and_leaves_nothing() {
    let place = Place::new("value_error");
    let launcher = place.open().await;
    let failed = launcher.launch(&key("a"), &seats(4), Purpose::Trial).await.unwrap_err();
    let Error::StartFailed { reason, last_lines } = failed else { panic!("{failed}") };
    assert!(reason.starts_with("it ended: ValueError: Available memory on node 0"), "{reason}");
    assert!(last_lines.iter().any(|line| line.contains("desired CPU memory utilization")));
    assert_eq!((launcher.running().await.unwrap(), place.processes()), (vec![], vec![]));
}

#[tokio::test]
async fn a_server_that_never_becomes_healthy_is_given_up_and_ended() {
    let mut place = Place::new("never");
    place.options.start_timeout_s = 0.5;
    let launcher = place.open().await;
    let failed = launcher.launch(&key("a"), &seats(4), Purpose::Trial).await.unwrap_err();
    assert!(failed.to_string().contains("not healthy after 0.5 s"), "{failed}");
    assert_eq!((launcher.running().await.unwrap(), place.processes()), (vec![], vec![]));
}

#[tokio::test]
async fn a_program_that_is_not_there_and_a_knob_that_does_not_exist_leave_nothing() {
    let mut place = Place::new("ok");
    let launcher = place.open().await;
    let config = ServingConfig::default().with(Knob::MaxWaitingTokens, KnobValue::Int(9));
    let refused = launcher.launch(&key("a"), &config, Purpose::Trial).await.unwrap_err();
    assert_eq!(refused.code(), "serving.unsupported_knob");
    assert_eq!(launcher.running().await.unwrap(), vec![]);
    drop(launcher);
    place.options.program = "/nonexistent/vllm".into();
    let launcher = place.open().await;
    let failed = launcher.launch(&key("a"), &seats(4), Purpose::Trial).await.unwrap_err();
    assert!(failed.to_string().contains("/nonexistent/vllm cannot be run"), "{failed}");
    assert_eq!(launcher.running().await.unwrap(), vec![]);
}

#[tokio::test]
async fn the_next_agent_takes_over_the_servers_of_the_one_that_died() {
    let place = Place::new("ok");
    let first = place.open().await;
    let before = first.launch(&key("a"), &seats(4), Purpose::Stable).await.unwrap();
    let pids = place.processes();
    drop(first);
    assert_eq!(place.processes(), pids, "the server outlives its agent");

    let second = place.open().await;
    assert_eq!(second.running().await.unwrap(), vec![before.clone()]);
    assert_eq!(second.launch(&key("a"), &seats(4), Purpose::Stable).await.unwrap(), before);
    assert_eq!(place.processes(), pids, "and is not started twice");
    second.stop(&before.backend.id).await.unwrap();
    assert_eq!(place.processes(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_start_whose_record_was_lost_is_found_by_its_mark() {
    let place = Place::new("ok");
    let first = place.open().await;
    first.launch(&key("a"), &seats(4), Purpose::Stable).await.unwrap();
    drop(first);
    // The agent died after the start and before it wrote the pid down.
    edit_record(place.path(), |entry| entry["process"] = serde_json::Value::Null);
    let pids = place.processes();
    let second = place.open().await;
    second.launch(&key("a"), &seats(4), Purpose::Stable).await.unwrap();
    assert_eq!(place.processes(), pids);
}

#[tokio::test]
async fn a_reused_pid_is_never_mistaken_for_the_server() {
    let place = Place::new("ok");
    let mut bystander = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let first = place.open().await;
    let running = first.launch(&key("a"), &seats(4), Purpose::Trial).await.unwrap();
    first.stop(&running.backend.id).await.unwrap();
    let again = first.launch(&key("a"), &seats(4), Purpose::Trial).await.unwrap();
    drop(first);
    let pid = bystander.id();
    edit_record(place.path(), |entry| entry["process"]["pid"] = pid.into());
    let second = place.open().await;
    second.stop(&again.backend.id).await.unwrap();
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander lives");
    assert_eq!(place.processes(), Vec::<u32>::new());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test]
async fn strays_and_dead_trials_are_cleared_away_on_the_way_up() {
    let place = Place::new("ok");
    let first = place.open().await;
    let dead = first.launch(&key("dead"), &seats(4), Purpose::Trial).await.unwrap();
    first.launch(&key("stray"), &seats(8), Purpose::Stable).await.unwrap();
    crash(&place, &dead).await;
    drop(first);
    edit_book(place.path(), |book| book.retain(|id, _| *id == dead.backend.id));
    let second = place.open().await;
    assert_eq!((second.running().await.unwrap(), place.processes()), (vec![], vec![]));
}

#[tokio::test]
async fn a_crashed_stable_server_is_down_with_a_reason_and_is_restarted_but_not_for_ever() {
    let mut place = Place::new("ok");
    place.options.restarts_max = 1;
    let launcher = place.open().await;
    let stable = launcher.launch(&key("a"), &seats(4), Purpose::Stable).await.unwrap();
    let trial = launcher.launch(&key("b"), &seats(4), Purpose::Trial).await.unwrap();
    for (round, restarted) in [(1, vec![stable.backend.id.clone()]), (2, vec![])] {
        crash(&place, &stable).await;
        if round == 1 {
            crash(&place, &trial).await;
        }
        let down = launcher.health(&stable.backend.id).await.unwrap();
        let reason = "fake engine serves tiny".to_owned();
        assert_eq!(down, Health::Down { reason }, "round {round}");
        assert_eq!(launcher.restart_crashed().await.unwrap(), restarted, "round {round}");
        if round == 1 {
            let back = launcher.launch(&key("a"), &seats(4), Purpose::Stable).await.unwrap();
            assert_eq!(back.backend, stable.backend);
        }
    }
    assert!(matches!(launcher.health(&trial.backend.id).await.unwrap(), Health::Down { .. }));
}

#[tokio::test]
async fn a_restart_ends_the_workers_that_a_crash_left_behind() {
    let place = Place::new("worker");
    let launcher = place.open().await;
    let stable = launcher.launch(&key("a"), &seats(4), Purpose::Stable).await.unwrap();
    let before = place.processes();
    crash(&place, &stable).await;
    assert_eq!(launcher.restart_crashed().await.unwrap(), [stable.backend.id]);
    launcher.launch(&key("a"), &seats(4), Purpose::Stable).await.unwrap();
    let after = place.processes();
    assert_eq!((before.len(), after.len()), (2, 2));
    assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
}

#[tokio::test]
async fn a_worker_that_hides_its_mark_does_not_survive_its_server() {
    let place = Place::new("renamed");
    let launcher = place.open().await;
    let stable = launcher.launch(&key("a"), &seats(4), Purpose::Stable).await.unwrap();
    let log = place.path().join(format!("logs/{}.log", stable.backend.id));
    let workers = || {
        let text = std::fs::read_to_string(&log).unwrap();
        let pids = text.lines().filter_map(|line| line.strip_prefix("worker "));
        pids.map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    };
    let first = workers();
    assert!(first.len() == 1 && runs(first[0]));
    crash(&place, &stable).await;
    assert!(runs(first[0]), "the crash left it behind");
    launcher.restart_crashed().await.unwrap();
    assert!(!runs(first[0]));
    launcher.launch(&key("a"), &seats(4), Purpose::Stable).await.unwrap();
    let second = workers();
    assert!(second.len() == 2 && runs(second[1]));
    launcher.stop(&stable.backend.id).await.unwrap();
    assert!(!runs(second[1]));
}

#[tokio::test]
async fn a_second_start_is_not_explained_by_the_first_ones_error() {
    let mut place = Place::new("value_error");
    let launcher = place.open().await;
    launcher.launch(&key("a"), &seats(4), Purpose::Trial).await.unwrap_err();
    drop(launcher);
    place.options.env = vec![("FAKE_ENGINE".to_owned(), "never".to_owned())];
    place.options.start_timeout_s = 0.5;
    let launcher = place.open().await;
    let failed = launcher.launch(&key("a"), &seats(4), Purpose::Trial).await.unwrap_err();
    assert!(!failed.to_string().contains("ValueError"), "{failed}");
}

#[tokio::test]
async fn stop_kills_what_ignores_it_and_finds_workers_outside_the_group() {
    for mode in ["stubborn", "worker"] {
        let mut place = Place::new(mode);
        place.options.grace_s = 0.3;
        let launcher = place.open().await;
        let running = launcher.launch(&key("a"), &seats(4), Purpose::Trial).await.unwrap();
        assert_eq!(place.processes().len(), if mode == "worker" { 2 } else { 1 });
        launcher.stop(&running.backend.id).await.unwrap();
        assert_eq!(place.processes(), Vec::<u32>::new(), "{mode}");
    }
}

#[tokio::test]
async fn a_port_that_someone_else_has_is_passed_over_and_none_left_is_an_error() {
    let mut place = Place::new("ok");
    let first = *place.options.ports.start();
    let taken = std::net::TcpListener::bind(("127.0.0.1", first)).unwrap();
    place.options.ports = first..=first + 1;
    let launcher = place.open().await;
    let running = launcher.launch(&key("a"), &seats(4), Purpose::Trial).await.unwrap();
    assert_eq!(running.backend.url, format!("http://127.0.0.1:{}", first + 1));
    let full = launcher.launch(&key("b"), &seats(4), Purpose::Trial).await.unwrap_err();
    assert_eq!(full.code(), "serving.no_free_port");
    drop(taken);
}

#[tokio::test]
async fn two_agents_cannot_hold_one_record_and_a_damaged_one_is_an_error() {
    let place = Place::new("ok");
    let first = place.open().await;
    let clock = || Arc::new(SystemClock);
    let Err(second) = ProcessLauncher::open(place.options.clone(), clock()).await else {
        panic!("two launchers on one record")
    };
    assert!(second.to_string().contains("in use by another agent"), "{second}");
    drop(first);
    std::fs::write(place.path().join("backends.json"), "{\"a\": 1").unwrap();
    let Err(damaged) = ProcessLauncher::open(place.options.clone(), clock()).await else {
        panic!("a damaged record was opened")
    };
    assert_eq!(damaged.code(), "serving.corrupt");
}

type Record = serde_json::Map<String, serde_json::Value>;

fn edit_book(dir: &Path, edit: impl FnOnce(&mut Record)) {
    let file = dir.join("backends.json");
    let mut book: Record = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    edit(&mut book);
    std::fs::write(&file, serde_json::to_vec(&book).unwrap()).unwrap();
}

fn edit_record(dir: &Path, edit: impl Fn(&mut serde_json::Value)) {
    edit_book(dir, |book| book.values_mut().for_each(&edit));
}
