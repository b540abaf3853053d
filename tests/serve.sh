# Sourced: `skipped TEXT`, `venv NAME` makes target/NAME/venv of tests/NAME/requirements.txt, `serve NAME FLAGS` starts our server and sets $url.
# Says that something is left out; with PERF_AGENT_NO_SKIP that is a failure.
skipped() {
  echo "$1" >&2
  [ -z "${PERF_AGENT_NO_SKIP:-}" ] || { echo "PERF_AGENT_NO_SKIP: nothing may be skipped" >&2; exit 1; }
}

target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
binary=${PERF_AGENT_BINARY:-$target/debug/perf-agent}
[ -x "$binary" ] || cargo build --locked

venv() {
  work=$target/$1
  mkdir -p "$work"
  cmp -s "tests/$1/requirements.txt" "$work/requirements.txt" && return 0
  rm -rf "$work/venv"
  python3 -m venv "$work/venv"
  if ! "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "tests/$1/requirements.txt"; then
    skipped "tests/$1/run: SKIPPED: PyPI does not give what tests/$1/requirements.txt names"
    exit 0
  fi
  cp "tests/$1/requirements.txt" "$work/requirements.txt"
}

serve() {
  local log=$target/$1/serve.log
  shift
  "$binary" serve --port 0 --model expert --store memory: "$@" >"$log" 2>&1 &
  server=$!
  trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
  for _ in $(seq 100); do
    url=$(sed -n 's/^listening on //p' "$log")
    [ -z "$url" ] || return 0
    kill -0 "$server" 2>/dev/null || { cat "$log" >&2; exit 1; }
    sleep 0.1
  done
  echo "the server did not start" >&2
  exit 1
}
