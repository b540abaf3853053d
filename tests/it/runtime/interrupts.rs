//! Questions to people: asked, answered, refused, expired.

use perf_agent::base::Coded;
use perf_agent::engine::Rest;
use perf_agent::graph::Reducer;
use perf_agent::runtime::{Grant, Outcome, Question, ThreadStatus, Usage};
use serde_json::{Value, json};

use super::support::{Crew, Draw, Rig, draw, wrote};

pub fn question(answer_schema: Value) -> Outcome {
    Outcome::Ask(Question {
        text: "Go on?".to_owned(),
        answer_schema,
        expires_at: None,
        on_expiry: None,
    })
}

fn asking() -> Draw {
    draw("ask").channel("decision", json!({ "type": "string" }), Reducer::Replace).node(
        "approve",
        Some("decision"),
        &[],
    )
}

fn approver(expires_at: Option<u64>, on_expiry: Option<Value>) -> Crew {
    Crew::default().does("approve", move |view, _| match &view.answer {
        None => Ok(Outcome::Ask(Question {
            text: "Deploy?".to_owned(),
            answer_schema: json!({ "enum": ["approve", "reject"] }),
            expires_at,
            on_expiry: on_expiry.clone(),
        })),
        Some(answer) => Ok(Outcome::Update {
            writes: vec![("decision".to_owned(), answer.value.clone())],
            grant: Some(Grant {
                node: "approve".to_owned(),
                by: answer.by.clone(),
                answer: answer.value.clone(),
            }),
            usage: Usage::default(),
        }),
    })
}

#[tokio::test]
async fn a_question_stops_the_run_until_a_person_answers() {
    let rig = Rig::new(approver(None, None));
    let state = rig.run(&asking().done(), Value::Null).await;
    assert_eq!((state.status, state.interrupts.len()), (ThreadStatus::Interrupted, 1));
    assert_eq!(rig.rest().await, Rest::Person);
    rig.runtime.resume(&rig.thread, None, json!("approve"), "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((state.status, &state.values["decision"]), (ThreadStatus::Done, &json!("approve")));
    let head = rig.store.head(&rig.thread).await.unwrap().unwrap();
    assert_eq!(head.grants[0].by, "ada");
}

#[tokio::test]
async fn answers_that_do_not_fit_are_refused_and_change_nothing() {
    let rig = Rig::new(approver(None, None));
    let before = rig.run(&asking().done(), Value::Null).await;
    let id = before.interrupts[0].id.clone();
    let resume = |id: Option<String>, answer: Value| {
        let rig = &rig;
        async move { rig.runtime.resume(&rig.thread, id.as_deref(), answer, "ada").await }
    };
    let misfit = resume(Some(id.clone()), json!("perhaps")).await.unwrap_err();
    assert_eq!(misfit.code(), "runtime.answer_invalid");
    let stale = resume(Some("old".to_owned()), json!("approve")).await.unwrap_err();
    assert_eq!(stale.code(), "runtime.interrupt_stale");
    assert!(stale.to_string().contains(&id), "{stale}");
    rig.rest().await;
    assert_eq!(rig.state().await, before);
    resume(Some(id.clone()), json!("reject")).await.unwrap();
    let twice = resume(Some(id.clone()), json!("approve")).await.unwrap_err();
    assert_eq!(twice.code(), "runtime.interrupt_answered");
    rig.rest().await;
    assert_eq!(rig.state().await.values["decision"], json!("reject"));
    let late = resume(Some(id), json!("approve")).await.unwrap_err();
    assert_eq!(late.code(), "runtime.interrupt_stale");
}

#[tokio::test]
async fn with_two_questions_open_an_answer_must_name_one() {
    let graph = draw("two").start(&[0, 1]).node("a", None, &[]).node("b", None, &[]).done();
    let ask =
        |view: &perf_agent::runtime::StateView, _: &perf_agent::runtime::TaskContext| match view
            .answer
        {
            None => Ok(question(json!({}))),
            Some(_) => wrote([]),
        };
    let rig = Rig::new(Crew::default().does("a", ask).does("b", ask));
    let state = rig.run(&graph, Value::Null).await;
    let unclear = rig.runtime.resume(&rig.thread, None, json!(1), "ada").await.unwrap_err();
    assert_eq!(unclear.code(), "runtime.interrupt_ambiguous");
    for interrupt in &state.interrupts {
        rig.runtime.resume(&rig.thread, Some(&interrupt.id), json!(1), "ada").await.unwrap();
        rig.rest().await;
    }
    assert_eq!(rig.state().await.status, ThreadStatus::Done);
}

#[tokio::test]
async fn a_question_nobody_answers_answers_itself_when_it_expires() {
    let rig = Rig::new(approver(Some(50_000), Some(json!("reject"))));
    let state = rig.run(&asking().done(), Value::Null).await;
    assert_eq!(
        state.status,
        ThreadStatus::Interrupted,
        "resting does not sleep a person's time away"
    );
    let clock = super::support::LeapClock::at(60_000);
    let later = Rig::on(rig.store.clone(), clock, approver(Some(50_000), Some(json!("reject"))));
    later.rest().await;
    let state = later.state().await;
    assert_eq!((state.status, &state.values["decision"]), (ThreadStatus::Done, &json!("reject")));
    let answered = later.events().await.into_iter().find(|event| event.kind == "RESUMED").unwrap();
    assert_eq!(answered.data["by"], json!("expiry"));
}

#[tokio::test]
async fn an_expired_question_without_an_answer_of_its_own_fails_its_node() {
    let rig = Rig::new(approver(Some(50_000), None));
    rig.run(&asking().done(), Value::Null).await;
    let clock = super::support::LeapClock::at(60_000);
    let later = Rig::on(rig.store.clone(), clock, approver(Some(50_000), None));
    later.rest().await;
    assert_eq!(super::support::code(&later.state().await), "runtime.question_expired");
}

#[tokio::test]
async fn an_answer_that_is_in_the_inbox_beats_the_expiry() {
    let crew = || approver(Some(50_000), Some(json!("reject")));
    let rig = Rig::new(crew());
    rig.run(&asking().done(), Value::Null).await;
    rig.runtime.resume(&rig.thread, None, json!("approve"), "ada").await.unwrap();
    let later = Rig::on(rig.store.clone(), super::support::LeapClock::at(60_000), crew());
    later.rest().await;
    assert_eq!(later.state().await.values["decision"], json!("approve"));
}

#[tokio::test]
async fn a_finished_branch_is_not_run_again_when_the_other_ones_question_is_answered() {
    let graph = draw("branches")
        .channel("n", json!({ "type": "integer" }), Reducer::Sum)
        .start(&[0, 1])
        .node("work", Some("n"), &[2])
        .node("ask", None, &[2])
        .node("join", None, &[])
        .done();
    let ran = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = ran.clone();
    let crew = Crew::default()
        .does("work", move |_, _| {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            wrote([("n", json!(1))])
        })
        .does("ask", |view, _| match view.answer {
            None => Ok(question(json!({}))),
            Some(_) => wrote([]),
        });
    let rig = Rig::new(crew);
    let state = rig.run(&graph, Value::Null).await;
    assert_eq!(state.values.get("n"), None, "writes are unseen until the superstep closes");
    rig.runtime.resume(&rig.thread, None, json!(1), "ada").await.unwrap();
    rig.rest().await;
    let state = rig.state().await;
    assert_eq!((&state.values["n"], state.visits["join"]), (&json!(1), 1));
    assert_eq!(ran.load(std::sync::atomic::Ordering::SeqCst), 1);
}
