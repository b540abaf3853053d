#!/usr/bin/env bash
# Starts one vLLM by hand and waits until it is healthy: serve.sh PORT [vllm flags]; serve.sh --stop PORT.
# Serves the model as "smol". Prints the seconds to /health; the log and the process id are in $VLLM_HOME/run.
set -eu
. "$(dirname "$0")/env.sh"
run="$VLLM_HOME/run"; mkdir -p "$run"
if [ "$1" = --stop ]; then
  pid=$(cat "$run/$2.pid"); kill -TERM "$pid" 2>/dev/null || true
  for _ in $(seq 150); do pgrep -g "$pid" >/dev/null || break; sleep 0.1; done
  if pgrep -g "$pid" >/dev/null; then kill -KILL -- "-$pid"; fi
  rm -f "$run/$2.pid"; exit 0
fi
port=$1; shift
started=$(date +%s.%N)
# Its own process group: --stop ends the engine's workers too.
setsid "$VLLM_BIN" serve "$VLLM_MODEL" --served-model-name smol --host 127.0.0.1 --port "$port" "$@" \
  >"$run/$port.log" 2>&1 &
pid=$!; echo "$pid" >"$run/$port.pid"
until curl -fs -o /dev/null "http://127.0.0.1:$port/health"; do
  kill -0 "$pid" 2>/dev/null || { tail -20 "$run/$port.log" >&2; exit 1; }
  sleep 0.2
done
echo "healthy on port $port after $(echo "$(date +%s.%N) $started" | awk '{printf "%.1f", $1 - $2}') s, process $pid"
