//! What the journal's data says, in a few words.

use serde_json::Value;

/// `observing`, or `rolling_back: why`.
pub(super) fn rollout_state(state: &Value) -> Option<String> {
    let name = state["name"].as_str()?;
    let why = state["reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!("{name}{why}"))
}

/// Arguments of a call: its plain values, `deployment: chat, window_s: 420`. Whole documents are left out.
pub(super) fn arguments(args: &Value) -> String {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let fields = args.as_object().into_iter().flatten();
    let named: Vec<String> =
        fields.filter_map(|(name, value)| Some(format!("{name}: {}", plain(value)?))).collect();
    named.join(", ")
}

/// What a node wrote, where one line can say it.
pub(super) fn outcome(writes: &Value) -> Option<String> {
    let mut notes = writes.as_object()?.iter().filter_map(|(channel, value)| match &**channel {
        "objective" => objective(value),
        "observation" | "after" => observation(value),
        "diagnosis" => {
            let score = value["score"].as_f64()?;
            Some(format!("{}, score {score:.2}", value["bottleneck"].as_str()?))
        }
        "proposals" => Some(match value.as_array()?.len() {
            0 => "nothing worth a trial".to_owned(),
            1 => "1 config to try".to_owned(),
            many => format!("{many} configs to try"),
        }),
        "trials" => {
            let trials = value.as_array()?;
            let accepted = trials.iter().filter(|trial| trial["outcome"] == "accepted").count();
            Some(format!("{accepted} of {} accepted", trials.len()))
        }
        "chosen" if value.is_null() => Some("none is good enough".to_owned()),
        "chosen" => value["proposal"]["name"].as_str().map(str::to_owned),
        "rollout" => match value["paused"].as_str() {
            Some(why) => Some(why.to_owned()),
            None => rollout_state(&value["state"]).map(|state| state.replace('_', " ")),
        },
        _ => None,
    });
    notes.next()
}

fn objective(value: &Value) -> Option<String> {
    let name = |metric: &Value| metric.as_str().unwrap_or_default().to_uppercase();
    let mut parts: Vec<String> = Vec::new();
    for target in value["targets"].as_array()? {
        let statistic = target["statistic"].as_str()?;
        let max_ms = target["max_ms"].as_f64()?;
        parts.push(format!("{} {statistic} ≤ {max_ms} ms", name(&target["metric"])));
    }
    parts.extend(value["improve"].as_str().map(|metric| format!("improve {metric}")));
    let keep: Vec<&str> = value["keep"].as_array()?.iter().filter_map(Value::as_str).collect();
    if !keep.is_empty() {
        parts.push(format!("keep {}", keep.join(", ")));
    }
    Some(parts.join(", "))
}

fn observation(value: &Value) -> Option<String> {
    let client = &value["client"];
    let ttft = client["ttft_p95_ms"].as_f64().map(|ms| format!("TTFT p95 {ms:.0} ms"));
    let rate = client["finished_rps"].as_f64().map(|rps| format!("{rps:.1} req/s"));
    let parts: Vec<String> = ttft.into_iter().chain(rate).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// How a trial ended, for its row: `accepted, 83 % better`.
pub(super) fn trial(trial: &Value) -> Option<String> {
    if trial["outcome"] == "failed_to_start" {
        let why = trial["reasons"][0].as_str().unwrap_or("no reason given");
        return Some(format!("does not start: {why}"));
    }
    let gain = trial["gain"].as_f64().map(|gain| match gain >= 0.0 {
        true => format!(", {:.0} % better", gain * 100.0),
        false => format!(", {:.0} % worse", -gain * 100.0),
    });
    Some(format!("{}{}", trial["outcome"].as_str()?, gain.unwrap_or_default()))
}

/// TTFT p95 of both arms in a step: `238 | 122 ms` beside its bar, in full once it is judged.
pub(super) fn step(step: &Value) -> String {
    let ms = |arm: &str| step["ttft_p95_ms"][arm].as_f64();
    let judged = !step["ended"].is_null();
    let ttft = match (ms("stable"), ms("canary")) {
        (Some(old), Some(new)) if judged => format!("TTFT p95 {old:.0} ms old, {new:.0} new"),
        (Some(old), Some(new)) => format!("{old:.0} | {new:.0} ms"),
        (None, Some(new)) if judged => format!("TTFT p95 {new:.0} ms"),
        (None, Some(new)) => format!("{new:.0} ms"),
        _ => String::new(),
    };
    match step["verdict"].as_str().filter(|verdict| judged && *verdict != "passed") {
        Some(verdict) => format!("{}, {ttft}", verdict.replace('_', " ")),
        None => ttft,
    }
}

/// How much of what a step must show is there, 0–1: the mean of bake time, sessions and every proof of no harm.
pub(super) fn step_share(step: &Value, rollout: &Value, elapsed_ms: f64) -> Option<f64> {
    let plan = &rollout["plan"];
    let sessions = step["sessions"]["canary"].as_f64().unwrap_or(0.0);
    let mut shares = vec![
        elapsed_ms / plan["bake_time_ms"].as_f64()?,
        sessions / plan["sessions_min"].as_f64()?,
    ];
    let tests = rollout["evidence"].as_array()?.iter();
    let proofs =
        tests.filter(|test| test["test"].as_str().is_some_and(|name| name.ends_with("_promote")));
    shares.extend(
        proofs.filter_map(|test| Some(test["ln_e"].as_f64()? / test["ln_threshold"].as_f64()?)),
    );
    let capped = shares.iter().map(|share| share.clamp(0.0, 1.0)).sum::<f64>();
    Some(capped / shares.len() as f64)
}
