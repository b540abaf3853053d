"""Prints what users got before, during and after, and fails when the job was not done: accept.py FOLDER."""
import glob
import json
import sys

folder = sys.argv[1]


def read(name):
    with open(name) as file:
        return json.load(file)


before, after = (read(f"{folder}/{name}.json") for name in ("before", "after"))
by_minute = sorted(glob.glob(f"{folder}/during-*.json"), key=lambda name: int(name.rsplit("-")[-1][:-5]))
during = [read(name) for name in by_minute]
result = read(f"{folder}/result.json")


def show(name, measured):
    stats = measured["stats"]
    latency = " · ".join(f"{stats[key]:.0f}" for key in ("ttft_p95_ms", "tpot_p95_ms", "e2e_p50_ms", "e2e_p95_ms"))
    print(f"{name:8} {latency} ms · within {measured['within_slo']:.2f} · {stats['requests']} requests"
          f" · {stats['requests_failed']} failed · {stats['streams_cut']} cut")


print("         TTFT p95 · TPOT p95 · E2E p50 · E2E p95")
show("before", before)
for at, minute in enumerate(during, 1):
    show(f"minute {at}", minute)
show("after", after)
print("change:", {knob: change["to"] for knob, change in result["change"].items()}, f"in {result['wall_s']:.0f} s")
rollout = result["rollout"] or {}
print("rollout:", rollout.get("status"), rollout.get("reason"))

windows = [before, *during, after]
failed = sum(w["stats"]["requests_failed"] for w in windows) + rollout.get("requests_failed", 0)
cut = sum(w["stats"]["streams_cut"] for w in windows) + rollout.get("streams_cut", 0)
e2e = [w["stats"]["e2e_p95_ms"] for w in (before, after)]
checks = {
    "the status is improved": result["status"] == "improved",
    "E2E p95 is at least 60 % lower": e2e[1] <= 0.4 * e2e[0],
    "at least twice as many are within the SLO": after["within_slo"] >= max(2 * before["within_slo"], 0.5),
    "no request failed": failed == 0,
    "no stream was cut": cut == 0,
}
for what, holds in checks.items():
    print("ok  " if holds else "FAIL", what)
sys.exit(not all(checks.values()))
