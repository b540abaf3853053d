"""A LangGraph conversation of 200 turns of 1.1 kB, kept by the saver: turns.py URL.

Says what it read back; the caller looks at the size of the file.
"""

import sys
from hashlib import sha256
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from perf_agent_saver import PerfAgentSaver

TURNS = 200


def text(who: str, turn: int) -> str:
    """550 bytes that do not compress below half."""
    return "".join(sha256(f"{who} {turn} {n}".encode()).hexdigest() for n in range(9))[:550]


class State(TypedDict):
    messages: Annotated[list, add_messages]


def answer(state: State) -> dict:
    return {"messages": [("ai", text("ai", len(state["messages"])))]}


builder = StateGraph(State)
builder.add_node("answer", answer)
builder.add_edge(START, "answer")
builder.add_edge("answer", END)
graph = builder.compile(checkpointer=PerfAgentSaver(sys.argv[1]))
config = {"configurable": {"thread_id": "turns"}}
for turn in range(TURNS):
    graph.invoke({"messages": [("human", text("human", turn))]}, config)
messages = graph.get_state(config).values["messages"]
assert len(messages) == 2 * TURNS, len(messages)
assert [m.content for m in messages[::2]] == [text("human", turn) for turn in range(TURNS)]
# Every checkpoint of the middle reads back as it was.
history = list(graph.get_state_history(config))
lengths = sorted(len(state.values.get("messages", [])) for state in history)
assert lengths[0] == 0 and lengths[-1] == 2 * TURNS, lengths
print(f"turns: {TURNS} turns are {len(history)} checkpoints, all read back")
