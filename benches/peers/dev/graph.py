"""The graph of tests/graphs/trivial.yaml, for LangGraph's own server."""

import operator
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    n: int
    log: Annotated[list[str], operator.add]


async def a(state):
    return {"n": state.get("n", 0) + 1, "log": ["a"]}


builder = StateGraph(State)
builder.add_node("a", a)
builder.add_edge(START, "a")
builder.add_edge("a", END)
trivial = builder.compile()
