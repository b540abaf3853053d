#!/usr/bin/env bash
# The whole job on a real vLLM, under load all the time: before, `optimize --yes`, after; then what must hold is checked.
# About 18 minutes and 7 GiB of memory; wants a machine that does nothing else. RATE is the load [requests/s];
# without it the start config is measured first: the load must be more than that config carries, whatever the machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
"$here/install.sh"
# shellcheck source=env.sh
. "$here/env.sh"
agent=${PERF_AGENT:-target/debug/perf-agent}
[ -x "$agent" ] || cargo build --locked
rate=${RATE:-} out=${OUT:-$(mktemp -d)}
mkdir -p "$out"
config=(--config examples/vllm.yaml --store "sqlite:$out/agent.db")
url=http://127.0.0.1:8001
# 356 prompt tokens, of which 256 are shared; 64 answer tokens.
load() {
  "$agent" load "$url" --served-model smol --rate "$rate" --input-tokens 356 --shared-prefix-ratio 0.719 \
    --output-tokens 64 --timeout-s 300 "$@"
}
# A minute of load after the other, each begun on time whatever the last one still waits for.
keep_loading() {
  local chunks=() minute=0
  while [ ! -e "$out/enough" ]; do
    minute=$((minute + 1))
    load --duration-s 60 --warmup-s 0 --seed "$((100 + minute))" >"$out/during-$minute.json" &
    chunks+=("$!")
    sleep 60
  done
  wait "${chunks[@]}"
}
finish() {
  touch "$out/enough"
  "$agent" down "${config[@]}" || true
}
trap finish EXIT

"$agent" up "${config[@]}"
if [ -z "$rate" ]; then
  # 40 requests at once: how long all of them take is what the start config carries; a tenth more overloads it slowly.
  rate=10 began=$(date +%s.%N)
  load --duration-s 4 --warmup-s 0 --seed 6 >"$out/capacity.json"
  rate=$(python3 -c "import json, sys, time
requests = json.load(open(sys.argv[1]))['stats']['requests']
print(round(1.1 * requests / (time.time() - float(sys.argv[2])), 2))" "$out/capacity.json" "$began")
  echo "the load is $rate requests/s"
fi
load --duration-s 120 --warmup-s 60 --seed 7 >"$out/before.json"
keep_loading & loading=$!
ended=0
"$agent" optimize "p95 TTFT under 1 s, no less throughput" --yes --model expert --format json "${config[@]}" \
  >"$out/result.json" || ended=$?
touch "$out/enough"
wait "$loading"
load --duration-s 120 --warmup-s 60 --seed 7 >"$out/after.json"
echo "optimize ended with $ended; everything is in $out"
python3 "$here/accept.py" "$out"
