//! The data plane of a world: who goes where, what a table must be, what ends a stream.

use std::collections::{BTreeMap, BTreeSet};

use perf_agent::base::Coded;
use perf_agent::domain::{Arm, Finish, TrafficTable};

use super::support::{canary, good, launcher, open, pass, plane, records_of, spec, stable, table};

#[tokio::test]
async fn weights_are_honoured_and_a_growing_weight_never_sends_a_session_back() {
    let world = open(spec(4));
    let stable = stable(&world).await;
    let canary = canary(&world, &good()).await;
    let mut arms: BTreeMap<String, BTreeSet<Arm>> = BTreeMap::new();
    let mut was_canary = BTreeSet::new();
    for (generation, percent) in [(2, 5.0), (3, 25.0), (4, 50.0), (5, 100.0)] {
        let table = table(generation, &stable, Some(&canary.backend), percent);
        plane(&world).apply(&table).await.unwrap();
        // What was dealt before is still on its way for a while.
        pass(&world, 60.0).await;
        let records = records_of(&world, 600.0).await;
        let sessions: BTreeMap<&str, Arm> =
            records.iter().map(|r| (r.session.as_str(), r.arm)).collect();
        let on_canary = sessions.values().filter(|arm| **arm == Arm::Canary).count() as f64;
        let (share, n) = (percent / 100.0, sessions.len() as f64);
        // Four standard deviations of a binomial share.
        let tolerance = 4.0 * (share * (1.0 - share) / n).sqrt();
        assert!((on_canary / n - share).abs() <= tolerance, "{percent} %: {on_canary} of {n}");
        for record in &records {
            let stays = !was_canary.contains(&record.session) || record.arm == Arm::Canary;
            assert!(stays, "{} went back", record.session);
            if record.arm == Arm::Canary {
                was_canary.insert(record.session.clone());
            }
            arms.entry(record.session.clone()).or_default().insert(record.arm);
        }
    }
    assert!(arms.values().any(|arms| arms.len() == 2), "some sessions moved, once");
}

#[tokio::test]
async fn the_probability_is_that_of_the_session_start_and_only_its_first_turn_is_first() {
    let world = open(spec(4));
    let stable = stable(&world).await;
    let canary = canary(&world, &good()).await;
    let plane = plane(&world);
    plane.apply(&table(2, &stable, Some(&canary.backend), 5.0)).await.unwrap();
    let mut records = records_of(&world, 120.0).await;
    plane.apply(&table(3, &stable, Some(&canary.backend), 50.0)).await.unwrap();
    records.extend(records_of(&world, 120.0).await);
    // Requests that were dealt under the first salt end in the first window.
    let mut starts: BTreeMap<&str, Vec<(f64, bool)>> = BTreeMap::new();
    records.sort_by_key(|r| r.started);
    for record in &records {
        let start = (record.canary_probability, record.first_turn);
        starts.entry(&record.session).or_default().push(start);
    }
    let probabilities: BTreeSet<String> =
        starts.values().flatten().map(|(p, _)| p.to_string()).collect();
    assert!(probabilities.contains("0.05") && probabilities.contains("0.5"), "{probabilities:?}");
    for turns in starts.values() {
        let firsts = turns.iter().filter(|(_, first)| *first).count();
        assert!(firsts <= 1 && turns.iter().all(|(p, _)| *p == turns[0].0), "{turns:?}");
    }
}

#[tokio::test]
async fn a_drained_server_cuts_nothing_and_an_undrained_one_cuts_what_it_had() {
    for drained in [true, false] {
        let world = open(spec(2));
        let stable = stable(&world).await;
        let canary = canary(&world, &good()).await;
        let (plane, launcher) = (plane(&world), launcher(&world));
        plane.apply(&table(2, &stable, Some(&canary.backend), 50.0)).await.unwrap();
        pass(&world, 60.0).await;
        let (_, before) = plane.records(u64::MAX).await.unwrap();
        plane.apply(&table(3, &stable, None, 0.0)).await.unwrap();
        let held = plane.in_flight(&canary.backend.id).await.unwrap();
        assert!(held > 0);
        while drained && plane.in_flight(&canary.backend.id).await.unwrap() > 0 {
            pass(&world, 1.0).await;
        }
        launcher.stop(&canary.backend.id).await.unwrap();
        let (records, _) = plane.records(before).await.unwrap();
        let bad = records.iter().filter(|r| r.finish != Finish::Complete).count() as u64;
        assert_eq!(bad, if drained { 0 } else { held });
        let cut = records.iter().find(|r| r.finish == Finish::Cut);
        assert!(drained || cut.is_some_and(|r| r.ttft_ms.is_some() && r.e2e_ms.is_none()));
    }
}

#[tokio::test]
async fn generations_only_grow_and_the_same_table_again_is_fine() {
    let world = open(spec(1));
    let stable = stable(&world).await;
    let plane = plane(&world);
    let second = table(2, &stable, None, 0.0);
    plane.apply(&second).await.unwrap();
    plane.apply(&second).await.unwrap();
    assert_eq!(plane.observed().await.unwrap(), second);
    let refused = async |table: TrafficTable| plane.apply(&table).await.unwrap_err().code();
    assert_eq!(refused(table(1, &stable, None, 0.0)).await, "serving.stale_generation");
    let other = TrafficTable { salt: "other".to_owned(), ..second.clone() };
    assert_eq!(refused(other).await, "serving.stale_generation");
    assert_eq!(refused(table(3, &stable, None, 5.0)).await, "serving.bad_answer");
    let nobody = perf_agent::domain::Backend { id: "nobody".to_owned(), url: String::new() };
    assert_eq!(refused(table(3, &stable, Some(&nobody), 5.0)).await, "serving.unknown_backend");
    assert_eq!(plane.observed().await.unwrap(), second, "a refused table changes nothing");
}

#[tokio::test]
async fn an_agent_that_falls_silent_loses_its_canary_and_one_that_renews_keeps_it() {
    for renews in [true, false] {
        let world = open(spec(1));
        let stable = stable(&world).await;
        let canary = canary(&world, &good()).await;
        let plane = plane(&world);
        let leased = table(2, &stable, Some(&canary.backend), 25.0);
        let leased = TrafficTable { lease_ms: Some(120_000), ..leased };
        plane.apply(&leased).await.unwrap();
        for _ in 0..6 {
            pass(&world, 40.0).await;
            if renews {
                plane.renew().await.unwrap();
            }
        }
        let held = plane.observed().await.unwrap();
        let expected = if renews { (2, 25.0) } else { (3, 0.0) };
        assert_eq!((held.generation, held.canary_percent), expected);
    }
}
