"""A LangGraph checkpoint saver that keeps everything in a Performance Agent, over HTTP.

    saver = PerfAgentSaver("http://127.0.0.1:8002")
    graph = builder.compile(checkpointer=saver)
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

PAGE = 100


class PerfAgentError(Exception):
    """What the server refused, in its own words."""


class PerfAgentSaver(BaseCheckpointSaver[int]):
    """Values are serialised here and kept there as they are; only metadata is read by the server."""

    def __init__(self, url: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.address = urlsplit(url).netloc
        self.local = threading.local()

    # The wire.

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        payload = None if body is None else json.dumps(body).encode()
        for attempt in (1, 2):
            connection = getattr(self.local, "connection", None)
            if connection is None:
                connection = self.local.connection = http.client.HTTPConnection(self.address)
            try:
                headers = {"content-type": "application/json"} if payload else {}
                connection.request(method, path, payload, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
                break
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A kept connection was closed by the other side: every call here may be repeated.
                self.local.connection = None
                if attempt == 2:
                    raise
        if response.status != 200:
            raise PerfAgentError(f"{answer['code']}: {answer['detail']}")
        return answer

    def pack(self, value: Any) -> dict:
        kind, data = self.serde.dumps_typed(value)
        return {"type": kind, "data": base64.b64encode(data).decode()}

    def unpack(self, value: dict) -> Any:
        return self.serde.loads_typed((value["type"], base64.b64decode(value["data"])))

    # The contract.

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        place = config["configurable"]
        body = checkpoint.copy()
        values = body.pop("channel_values")
        versions = {name: str(version) for name, version in body["channel_versions"].items()}
        at = {
            "thread_id": place["thread_id"],
            "checkpoint_ns": place.get("checkpoint_ns", ""),
            "checkpoint_id": checkpoint["id"],
        }
        self.ask("POST", "/checkpoints", {
            **at,
            "parent_checkpoint_id": place.get("checkpoint_id"),
            "checkpoint": self.pack(body),
            "metadata": get_checkpoint_metadata(config, metadata),
            "channel_versions": versions,
            "new_values": {
                name: self.pack(values[name]) if name in values else None
                for name in new_versions
                if name in versions
            },
        })
        return {"configurable": at}

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        place = config["configurable"]
        self.ask("POST", "/checkpoints/writes", {
            "thread_id": place["thread_id"],
            "checkpoint_ns": place.get("checkpoint_ns", ""),
            "checkpoint_id": place["checkpoint_id"],
            "task_id": task_id,
            "task_path": task_path,
            "writes": [
                {
                    "index": WRITES_IDX_MAP.get(channel, number),
                    "channel": channel,
                    "value": self.pack(value),
                }
                for number, (channel, value) in enumerate(writes)
            ],
        })

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        place = config["configurable"]
        found = self.ask("POST", "/checkpoints/search", {
            "thread_id": place["thread_id"],
            "checkpoint_ns": place.get("checkpoint_ns", ""),
            "checkpoint_id": get_checkpoint_id(config),
            "limit": 1,
        })["checkpoints"]
        return self.tuple_of(found[0]) if found else None

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        place = config["configurable"] if config else {}
        query = {
            "thread_id": place.get("thread_id"),
            "checkpoint_ns": place.get("checkpoint_ns"),
            "checkpoint_id": get_checkpoint_id(config) if config else None,
            "before": get_checkpoint_id(before) if before else None,
            "filter": filter or {},
        }
        left, after = limit, None
        while left is None or left > 0:
            size = PAGE if left is None else min(left, PAGE)
            answer = self.ask("POST", "/checkpoints/search", {**query, "after": after, "limit": size})
            for found in answer["checkpoints"]:
                yield self.tuple_of(found)
            after = answer["next"]
            if after is None:
                return
            left = None if left is None else left - len(answer["checkpoints"])

    def tuple_of(self, found: dict) -> CheckpointTuple:
        def config(checkpoint_id: str) -> RunnableConfig:
            return {
                "configurable": {
                    "thread_id": found["thread_id"],
                    "checkpoint_ns": found["checkpoint_ns"],
                    "checkpoint_id": checkpoint_id,
                }
            }

        values = {name: self.unpack(value) for name, value in found["values"].items()}
        parent = found["parent_checkpoint_id"]
        return CheckpointTuple(
            config=config(found["checkpoint_id"]),
            checkpoint={**self.unpack(found["checkpoint"]), "channel_values": values},
            metadata=found["metadata"],
            parent_config=config(parent) if parent else None,
            pending_writes=[
                (write["task_id"], write["channel"], self.unpack(write["value"]))
                for write in found["writes"]
            ],
        )

    def delete_thread(self, thread_id: str) -> None:
        self.ask("DELETE", f"/checkpoints/threads/{quote(thread_id, safe='')}")

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self.ask("POST", "/checkpoints/delete_runs", {"run_ids": [*run_ids]})

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        threads = {"source_thread_id": source_thread_id, "target_thread_id": target_thread_id}
        self.ask("POST", "/checkpoints/copy", threads)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self.ask("POST", "/checkpoints/prune", {"thread_ids": [*thread_ids], "strategy": strategy})

    # The same for asyncio: each call waits in a thread of its own.

    async def aput(self, *args: Any) -> RunnableConfig:
        return await asyncio.to_thread(self.put, *args)

    async def aput_writes(self, *args: Any, **kwargs: Any) -> None:
        await asyncio.to_thread(self.put_writes, *args, **kwargs)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(self, config: RunnableConfig | None, **kwargs: Any) -> AsyncIterator[CheckpointTuple]:
        listing = self.list(config, **kwargs)
        while (found := await asyncio.to_thread(next, listing, None)) is not None:
            yield found

    async def adelete_thread(self, thread_id: str) -> None:
        await asyncio.to_thread(self.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await asyncio.to_thread(self.prune, thread_ids, strategy=strategy)
