//! A world's clock: time passes when somebody sleeps, and nobody is overslept.

use std::sync::{Arc, Mutex};

use super::support::{open, spec};

#[tokio::test]
async fn a_sleep_takes_exactly_its_time_and_a_past_moment_takes_none() {
    let world = open(spec(1));
    let clock = world.clock();
    assert!(clock.is_simulated());
    let began = clock.now();
    clock.sleep_ms(12_345).await;
    assert_eq!(clock.now().since(began), 12_345);
    clock.sleep_until(began).await;
    assert_eq!(clock.now().since(began), 12_345);
}

async fn side_by_side() {
    let world = open(spec(1));
    let clock = world.clock();
    let began = clock.now();
    let log = Arc::new(Mutex::new(Vec::new()));
    let ticks = tokio::spawn({
        let (clock, log) = (world.clock(), log.clone());
        async move {
            for tick in 1..=9 {
                clock.sleep_until(began.plus(tick * 40_000)).await;
                log.lock().unwrap().push(clock.now().since(began));
            }
        }
    });
    let other = tokio::spawn({
        let clock = world.clock();
        async move { clock.sleep_until(began.plus(3_600_000)).await }
    });
    ticks.await.unwrap();
    other.await.unwrap();
    let expected: Vec<u64> = (1..=9).map(|tick| tick * 40_000).collect();
    assert_eq!(*log.lock().unwrap(), expected, "each tick was acted on at its own moment");
    assert_eq!(clock.now().since(began), 3_600_000);
}

#[tokio::test]
async fn who_sleeps_for_an_hour_does_not_let_another_oversleep() {
    side_by_side().await;
}

#[tokio::test]
async fn a_sleep_that_is_given_up_holds_nobody_back() {
    let world = open(spec(1));
    let clock = world.clock();
    let began = clock.now();
    let asleep = clock.sleep_ms(5_000);
    let mut asleep = std::pin::pin!(asleep);
    // Polled once, then never again while it lives.
    assert!(futures::poll!(asleep.as_mut()).is_pending());
    clock.sleep_ms(60_000).await;
    assert_eq!(clock.now().since(began), 60_000);
    asleep.await;
    assert_eq!(clock.now().since(began), 60_000);
}
