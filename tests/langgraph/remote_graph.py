"""LangGraph's RemoteGraph with our server behind it: invoked, streamed, interrupted and resumed, and as a node.

usage: remote_graph.py URL
"""
import operator
import sys
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command

url = sys.argv[1]


class State(TypedDict):
    n: int
    log: Annotated[list[str], operator.add]


trivial = RemoteGraph("trivial", url=url)
assert trivial.invoke({"n": 1}) == {"n": 2, "log": ["a"]}

updates = list(trivial.stream({"n": 1}, stream_mode="updates"))
assert updates == [{"a": {"n": 2, "log": ["a"]}}], updates

drawn = trivial.get_graph()
assert set(drawn.nodes) == {"__start__", "a", "__end__"}, drawn.nodes

builder = StateGraph(State)
builder.add_node("before", lambda state: {"n": state["n"] * 10, "log": ["before"]})
builder.add_node("remote", trivial)
builder.add_edge(START, "before")
builder.add_edge("before", "remote")
builder.add_edge("remote", END)
out = builder.compile().invoke({"n": 4, "log": []})
assert out["n"] == 41 and out["log"][-1] == "a", out

hitl = RemoteGraph("hitl", url=url)
thread = trivial._validate_sync_client().threads.create()["thread_id"]
config = {"configurable": {"thread_id": thread}}
hitl.invoke({"n": 1}, config)
state = hitl.get_state(config)
assert state.next == ("ask",), state
assert state.tasks[0].interrupts[0].value == {"q": "ok?"}, state
out = hitl.invoke(Command(resume="yes"), config)
assert out == {"n": 2, "log": ["a", "answer=yes"]}, out
hitl.update_state(config, {"n": 100})
assert hitl.get_state(config).values["n"] == 100
steps = [state.metadata["step"] for state in hitl.get_state_history(config)]
assert steps == sorted(steps, reverse=True) and steps[-1] == -1, steps
print("langgraph RemoteGraph: invoked, streamed, as a node, interrupted, resumed, updated")
