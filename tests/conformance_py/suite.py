"""Runs langgraph-checkpoint-conformance, unmodified, against the saver: suite.py URL MIRROR.

MIRROR is the Rust file that lists the same cases by name; the two lists must be equal.
"""

import asyncio
import re
import sys

from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import ProgressCallbacks
from perf_agent_saver import PerfAgentSaver

url, mirror = sys.argv[1:]
cases: dict[str, bool] = {}


@checkpointer_test(name="Performance Agent over HTTP")
async def saver():
    yield PerfAgentSaver(url)


def note(capability: str, name: str, passed: bool, error: str | None) -> None:
    cases[name] = passed
    if not passed:
        print(f"FAILED {capability}: {name}\n{error}")


report = asyncio.run(validate(saver, progress=ProgressCallbacks(on_test_result=note)))
report.print_report()
passed = sum(cases.values())
print(f"conformance: {passed} of {len(cases)} cases pass")

mirrored = set(re.findall(r"\btest_\w+", open(mirror).read()))
if mirrored != set(cases):
    print(f"not mirrored in {mirror}: {sorted(set(cases) - mirrored)}")
    print(f"in {mirror} alone: {sorted(mirrored - set(cases))}")
    sys.exit(1)
skipped = [name for name, result in report.results.items() if not result.detected]
if skipped:
    print(f"capabilities that were not tested: {skipped}")
sys.exit(0 if passed == len(cases) == 81 and not skipped else 1)
