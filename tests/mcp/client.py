"""The official Python client of the Model Context Protocol against our server, over HTTP and over pipes.

usage: client.py URL BINARY
"""
import asyncio
import json
import sys

from mcp import Client, StdioServerParameters

url, binary = sys.argv[1:]
pipes = StdioServerParameters(
    command=binary,
    args=["mcp", "--model", "expert", "--store", "memory:", "--graphs", "tests/graphs", "--prompts", "tests/graphs/prompts"],
)


async def talk(server, mode: str) -> None:
    async with Client(server, mode=mode) as client:
        assert client.server_info.name == "perf-agent", client.server_info
        assert client.server_capabilities.tools is not None
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"read_metrics", "hitl", "read_thread"} <= tools.keys(), tools.keys()
        assert "start_rollout" not in tools
        # The client checks structured content against the schema that was listed.
        listed = await client.call_tool("list_deployments", {})
        assert not listed.is_error, listed
        name = listed.structured_content["deployments"][0]["deployment"]["name"]
        seen = await client.call_tool("read_metrics", {"deployment": name, "window_s": 60})
        assert not seen.is_error and seen.structured_content["ttft"], seen
        refused = await client.call_tool("start_rollout", {})
        assert refused.is_error and json.loads(refused.content[0].text)["code"] == "api.tool_not_offered", refused
        told = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            told.append(message)

        asked = await client.call_tool("hitl", {"n": 1}, progress_callback=progress)
        thread = asked.structured_content
        assert thread["status"] == "interrupted" and thread["thread_id"] in thread["how_to_answer"], thread
        assert any("asks" in line for line in told), told
        again = await client.call_tool("read_thread", {"thread_id": thread["thread_id"]})
        assert again.structured_content == thread, again
        try:
            await client.call_tool("nothing", {})
        except Exception as error:  # of whatever class: the code is the protocol's
            assert "nothing" in str(error), error
        else:
            raise AssertionError("an unknown tool was called")


async def main() -> None:
    for server, where in [(url, "HTTP"), (pipes, "pipes")]:
        for mode in ["legacy", "auto"]:
            await asyncio.wait_for(talk(server, mode), 120)
            print(f"ok: mcp over {where}, {mode}: initialize, tools/list, tools/call, a question, progress, refusals")


asyncio.run(main())
