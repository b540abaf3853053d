# The environment in which the real vLLM of install.sh starts. Source it: `. tests/vllm/env.sh`.
# Sets VLLM_HOME, VLLM_BIN, VLLM_MODEL and what vLLM itself reads. Nothing here starts anything.
export VLLM_HOME="${VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/perf-agent/vllm}"
export VLLM_BIN="$VLLM_HOME/venv/bin/vllm"
export VLLM_MODEL="$VLLM_HOME/models/smollm2-135m-instruct"

# CPU build, no network: the model is a folder on this disk.
export VLLM_TARGET_DEVICE=cpu HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
export VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
# `GET /server_info` shows the running config only in dev mode.
export VLLM_SERVER_DEV_MODE="${VLLM_SERVER_DEV_MODE:-1}"
# Without bytecode a start takes twice as long.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX="$VLLM_HOME/pycache"
# Compiled graphs are kept, so that only the first compiled start pays for them.
export VLLM_CACHE_ROOT="$VLLM_HOME/compiled"
