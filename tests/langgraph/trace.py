"""Runs the recorded script of LangGraph's client against a server, unchanged, and judges what it printed.

usage: trace.py SCRIPT URL OUT.jsonl
"""
import json
import subprocess
import sys

# What must fail, and how. Everything else must not.
EXPECTED = {
    "err unknown thread": "NotFoundError",
    "err unknown assistant": "UnprocessableEntityError",
    "err bad body": "UnprocessableEntityError",
    "multitask reject -> 409": "ConflictError",
    # The run was cancelled one line before.
    "runs.cancel_many": "NotFoundError",
    "threads.join_stream (3s, timeout expected)": "TimeoutError",
}


def main():
    script, url, out = sys.argv[1:]
    ran = subprocess.run([sys.executable, script, url, out], capture_output=True, text=True, timeout=300)
    if ran.returncode != 0:
        sys.exit(f"{script} broke off:\n{ran.stdout}{ran.stderr}")
    printed = json.loads(ran.stdout)
    failed = printed["results"]
    wrong = [f"{op}: {what}" for op, what in failed.items() if not what.startswith(EXPECTED.get(op, "nothing"))]
    wrong += [f"{op}: did not fail" for op in EXPECTED if op not in failed]
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"langgraph-sdk: {printed['ok']} operations ok, {printed['failed']} failed as they must")


main()
