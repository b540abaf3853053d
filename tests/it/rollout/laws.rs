//! What holds for every rollout, whatever happens and wherever the agent dies.

use perf_agent::domain::{Finish, RolloutPlan, RolloutState, TrafficTable};
use perf_agent::rollout::{Action, Command, Health, Order, Record, pending, step};
use proptest::prelude::*;

use super::world::{Drive, Load, Truth, plan};

const LOAD: Load = Load { sessions_per_s: 8.0, turns: 2.0, drift: 0.2 };

/// Something that happens to a rollout.
#[derive(Debug, Clone, Copy)]
enum Event {
    CanaryDown,
    CanaryFailing,
    StableDown,
    Blind,
    Deaf,
    Foreign,
    LeaseExpires,
    Slow,
    Failing,
    LaunchFails,
    WarmFails,
    Order(Order),
}

fn event() -> impl Strategy<Value = Event> {
    let orders =
        [Order::Pause, Order::Resume, Order::Resume, Order::Skip, Order::Promote, Order::Abort];
    prop_oneof![
        1 => Just(Event::CanaryDown),
        1 => Just(Event::CanaryFailing),
        1 => Just(Event::StableDown),
        1 => Just(Event::Blind),
        1 => Just(Event::Deaf),
        1 => Just(Event::Foreign),
        1 => Just(Event::LeaseExpires),
        1 => Just(Event::Slow),
        1 => Just(Event::Failing),
        1 => Just(Event::LaunchFails),
        1 => Just(Event::WarmFails),
        4 => prop::sample::select(orders.to_vec()).prop_map(Event::Order),
    ]
}

/// Fast enough to reach its end in two minutes.
fn hasty() -> RolloutPlan {
    RolloutPlan {
        bake_time_ms: 4000,
        step_time_max_ms: 40_000,
        sessions_min: 2,
        soak_ms: 5000,
        drain_max_ms: 15_000,
        metrics_lost_ms: 6000,
        ..plan()
    }
}

const LOOKS: usize = 130;

#[derive(Debug, Clone)]
struct Script {
    seed: u64,
    speed: f64,
    events: Vec<(usize, Event)>,
    crashes: Vec<(usize, usize)>,
}

fn script() -> impl Strategy<Value = Script> {
    let events = prop::collection::vec((0..LOOKS, event()), 0..6);
    let crashes = prop::collection::vec((0..LOOKS, 0_usize..3), 1..12);
    (any::<u64>(), prop::sample::select(vec![0.5, 0.7, 1.0, 1.5]), events, crashes)
        .prop_map(|(seed, speed, events, crashes)| Script { seed, speed, events, crashes })
}

/// Plays `script`; with `crashes` the agent dies after some of the actions and begins again from what it wrote down.
fn play(script: &Script, crashes: bool, mut each: impl FnMut(&Drive, &[Action])) -> Drive {
    let mut drive = Drive::new(script.seed, LOAD, Truth::times(script.speed), hasty());
    for look in 0..LOOKS {
        for (_, event) in script.events.iter().filter(|(at, _)| *at == look) {
            happen(&mut drive, *event);
        }
        let happened: Vec<_> = script.events.iter().filter(|(at, _)| *at == look).collect();
        let died = script.crashes.iter().find(|(at, _)| crashes && *at == look);
        let actions = drive.tick_dying(died.map(|(_, performed)| *performed), |inputs| {
            for (_, event) in happened {
                see(inputs, *event);
            }
        });
        each(&drive, &actions);
    }
    drive
}

fn happen(drive: &mut Drive, event: Event) {
    match event {
        Event::Foreign if drive.record.exposed && !drive.record.is_over() => {
            drive.world.table.generation += 2;
            drive.world.table.canary_percent = 15.0;
        }
        Event::LeaseExpires => drive.world.expire_lease(),
        Event::Deaf => drive.world.deafen(20_000),
        Event::Slow => drive.world.truth = Truth::times(3.0),
        Event::Failing => drive.world.truth.failures = 0.5,
        Event::LaunchFails => drive.world.launch_fails = true,
        _ => {}
    }
}

fn see(inputs: &mut perf_agent::rollout::Inputs, event: Event) {
    let down = Some(Health::Down { reason: "gone".to_owned() });
    match event {
        Event::CanaryDown => inputs.canary_health = down,
        Event::CanaryFailing => {
            inputs.canary_health = Some(Health::Failing { reason: "timeout".to_owned() })
        }
        Event::StableDown => inputs.stable_health = down,
        Event::Blind => (inputs.metrics_fresh_at, inputs.stable_health) = (None, None),
        Event::WarmFails => inputs.warmed = Some(Err("never settled".to_owned())),
        Event::Order(order) => {
            inputs.commands.push(Command { order, by: "ada".to_owned(), generation: None });
        }
        _ => {}
    }
}

/// Share of users on the new version.
fn exposure(table: &TrafficTable) -> f64 {
    if table.stable.backends[0].id == "canary" { 100.0 } else { table.canary_percent }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn dying_anywhere_changes_nothing(script in script()) {
        let calm = play(&script, false, |_, _| {});
        let dying = play(&script, true, |_, _| {});
        prop_assert_eq!(&calm.record, &dying.record);
        prop_assert_eq!(&calm.world.table, &dying.world.table);
        prop_assert_eq!(&calm.world.stopped, &dying.world.stopped);
        prop_assert_eq!(&calm.world.applied, &dying.world.applied);
    }

    #[test]
    fn users_are_never_moved_back_and_forth(script in script()) {
        let drive = play(&script, true, |_, _| {});
        let mut before = 0.0;
        let (mut returned, mut generation) = (false, 0);
        for table in &drive.world.applied {
            prop_assert!(table.generation > generation);
            generation = table.generation;
            let now = exposure(table);
            returned |= now < before;
            prop_assert!(if returned { now == 0.0 } else { now >= before }, "{:?}", drive.world.applied);
            before = now;
        }
    }

    #[test]
    fn what_is_over_stays_over_and_leaves_one_version(script in script()) {
        let mut over: Option<RolloutState> = None;
        let drive = play(&script, true, |drive, _| {
            if let Some(state) = &over {
                assert_eq!(&drive.record.state, state);
            }
            over = drive.record.is_over().then(|| drive.record.state.clone());
        });
        if drive.record.is_finished() && drive.record.exposed {
            let table = &drive.world.table;
            prop_assert_eq!((table.canary_percent, table.lease_ms, &table.canary), (0.0, None, &None));
            let left = if drive.record.state == RolloutState::Done { "canary" } else { "stable" };
            prop_assert_eq!(table.stable.backends[0].id.as_str(), left);
            prop_assert!(!drive.world.stopped.contains(left));
        }
    }

    #[test]
    fn a_promoted_config_never_failed_a_guard_and_was_proven_or_ordered(script in script()) {
        let mut proven = false;
        let drive = play(&script, true, |drive, _| {
            if let (RolloutState::Shifting { step: 3, .. }, Some(evidence)) = (&drive.record.state, &drive.record.evidence) {
                proven |= evidence.unproven(2).is_empty();
            }
        });
        if drive.record.state == RolloutState::Done {
            let ordered = drive.record.transitions.iter().any(|t| t.why.starts_with("promoted by"));
            prop_assert!(proven || ordered);
            prop_assert!(drive.record.evidence.as_ref().unwrap().alarms().is_empty());
        }
    }

    #[test]
    fn one_rollout_launches_one_server_and_rolls_back_with_stable_first(script in script()) {
        let drive = play(&script, true, |drive, actions| {
            if matches!(drive.record.state, RolloutState::RollingBack { .. }) {
                let Some(Action::Apply { table }) = actions.first() else { panic!("{actions:?}") };
                assert_eq!(table.canary_percent, 0.0);
            }
        });
        let keys: std::collections::BTreeSet<_> = drive.world.launches.iter().collect();
        prop_assert!(keys.len() <= 1);
    }

    #[test]
    fn no_user_is_exposed_before_the_canary_is_warm(script in script()) {
        play(&script, true, |drive, _| {
            let warm = drive.record.transitions.iter().any(|t| t.why == "the new version is warm");
            assert!(warm || exposure(&drive.world.table) == 0.0 || drive.record.exposed);
        });
    }
}

#[test]
fn a_record_survives_being_written_down() {
    let mut drive = Drive::new(41, LOAD, Truth::times(0.9), hasty());
    drive.until_observing(50.0);
    let text = serde_json::to_string(&drive.record).unwrap();
    let read: Record = serde_json::from_str(&text).unwrap();
    assert_eq!(read, drive.record);
    assert_eq!(pending(&read), pending(&drive.record));
    let inputs = perf_agent::rollout::Inputs::default();
    assert_eq!(step(&read, &inputs, drive.now), step(&drive.record, &inputs, drive.now));
    // What a database holds of a rollout stays small however long it runs.
    assert!(text.len() < 40_000, "{}", text.len());
}

#[test]
fn cut_streams_are_counted_for_both_arms() {
    let mut drive = Drive::new(42, LOAD, Truth::times(0.9), hasty());
    drive.until_observing(5.0);
    drive
        .tick_with(|i| i.records.iter_mut().take(2).for_each(|record| record.finish = Finish::Cut));
    assert_eq!(drive.record.status().streams_cut, 2);
}
