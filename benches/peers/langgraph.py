"""LangGraph in the cases of benches/runtime/cases.rs. `langgraph.py CASE [FOLDER]` prints one JSON line.

Each case is a process of its own. Checkpoints are written with durability="sync", before the next superstep begins.
"""

import asyncio
import json
import operator
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from typing import Annotated, TypedDict

# Run as a script its folder comes first, where this very file would be taken for the package.
sys.path = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
os.environ.setdefault("LANGSMITH_TRACING", "false")

from langgraph.graph import END, START, StateGraph  # noqa: E402
from langgraph.types import Send  # noqa: E402

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class Count(TypedDict):
    n: int
    limit: int


class Talk(TypedDict):
    talk: Annotated[list, operator.add]


class Fan(TypedDict):
    items: list
    out: Annotated[list, operator.add]


def circle(saver=None, is_async=False):
    def step(state):
        return {"n": state["n"] + 1}

    async def astep(state):
        return {"n": state["n"] + 1}

    graph = StateGraph(Count)
    graph.add_node("step", astep if is_async else step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges(
        "step", lambda state: "step" if state["n"] < state["limit"] else END, ["step", END]
    )
    return graph.compile(checkpointer=saver)


def config(thread, limit):
    return {"recursion_limit": limit + 10, "configurable": {"thread_id": thread}}


def loop(app, limit, durability=None):
    more = {"durability": durability} if durability else {}
    app.invoke({"n": 0, "limit": 5}, config("warm", 5), **more)
    begun = time.perf_counter()
    found = app.invoke({"n": 0, "limit": limit}, config("t", limit), **more)
    seconds = time.perf_counter() - begun
    assert found["n"] == limit
    return {"steps": limit, "steps_per_s": round(limit / seconds, 1)}


async def many(app, threads, limit, durability):
    async def one(n):
        found = await app.ainvoke(
            {"n": 0, "limit": limit}, config(f"t{n}", limit), durability=durability
        )
        assert found["n"] == limit

    begun = time.perf_counter()
    await asyncio.gather(*[one(n) for n in range(threads)])
    seconds = time.perf_counter() - begun
    return {"steps": threads * limit, "steps_per_s": round(threads * limit / seconds, 1)}


def on_sqlite(folder, full, case):
    from langgraph.checkpoint.sqlite import SqliteSaver

    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = os.path.join(place, "x.db")
        with SqliteSaver.from_conn_string(path) as saver:
            saver.setup()
            if full:
                saver.conn.execute("PRAGMA synchronous = FULL")
            found = case(saver)
            found["synchronous"] = saver.conn.execute("PRAGMA synchronous").fetchone()[0]
            saver.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            found["file_mib"] = round(os.path.getsize(path) / 2**20, 2)
    return found


async def many_on_sqlite(folder):
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    with tempfile.TemporaryDirectory(dir=folder) as place:
        async with AsyncSqliteSaver.from_conn_string(os.path.join(place, "x.db")) as saver:
            await saver.setup()
            await saver.conn.execute("PRAGMA synchronous = FULL")
            return await many(circle(saver, is_async=True), 256, 8, "sync")


async def fanout(saver):
    async def work(item):
        return {"out": [item["i"]]}

    graph = StateGraph(Fan)
    graph.add_node("work", work)
    graph.add_conditional_edges(
        START, lambda state: [Send("work", {"i": i}) for i in state["items"]], ["work"]
    )
    graph.add_edge("work", END)
    app = graph.compile(checkpointer=saver)
    took = []
    for n in range(21):
        begun = time.perf_counter()
        found = await app.ainvoke({"items": list(range(100)), "out": []}, config(f"t{n}", 10))
        took.append(time.perf_counter() - begun)
        assert len(found["out"]) == 100
    return {"fanout100_ms": round(statistics.median(took) * 1e3, 2)}


def growth(saver):
    draw = random.Random(7)

    def text(letters):
        return "".join(draw.choices(ALPHABET, k=letters))

    graph = StateGraph(Talk)
    graph.add_node("turn", lambda state: {"talk": [text(1000)]})
    graph.add_edge(START, "turn")
    graph.add_edge("turn", END)
    app = graph.compile(checkpointer=saver)
    begun = time.perf_counter()
    for _ in range(200):
        found = app.invoke({"talk": [text(100)]}, config("t", 10), durability="sync")
    assert len(found["talk"]) == 400
    return {"seconds": round(time.perf_counter() - begun, 2)}


def run(case, folder):
    from langgraph.checkpoint.memory import InMemorySaver

    if case == "loop":
        return loop(circle(), 2_000)
    if case == "loop_memory":
        return loop(circle(InMemorySaver()), 2_000, "sync")
    if case == "loop_sqlite":
        return on_sqlite(folder, False, lambda saver: loop(circle(saver), 1_000, "sync"))
    if case == "loop_sqlite_full":
        return on_sqlite(folder, True, lambda saver: loop(circle(saver), 1_000, "sync"))
    if case == "many_sqlite":
        return asyncio.run(many_on_sqlite(folder))
    if case == "many_memory":
        return asyncio.run(many(circle(InMemorySaver(), is_async=True), 1_000, 10, "sync"))
    if case == "fanout":
        return asyncio.run(fanout(None))
    if case == "fanout_memory":
        return asyncio.run(fanout(InMemorySaver()))
    if case == "growth":
        return on_sqlite(folder, False, growth)
    if case == "cold":
        return {"steps": circle().invoke({"n": 0, "limit": 1})["n"]}
    raise SystemExit(f"there is no case `{case}`")


if __name__ == "__main__":
    measured = run(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    measured["case"] = sys.argv[1]
    measured["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    print(json.dumps(measured), flush=True)
