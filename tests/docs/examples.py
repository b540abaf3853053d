"""The examples of a page of Markdown: `FOLDER/NN.LANGUAGE` each, with the server's address put in. What is no example is left out.

usage: examples.py PAGE URL BINARY FOLDER
"""
import json
import pathlib
import re
import sys

page, url, binary, folder = sys.argv[1:]
host = url.removeprefix("http://")
text = pathlib.Path(page).read_text()
out = pathlib.Path(folder)
out.mkdir(parents=True, exist_ok=True)
blocks = re.findall(r"^```(\S*)\n(.*?)^```$", text, re.M | re.S)
assert len(blocks) == text.count("\n```") // 2, "a fence is not closed"
for number, (language, block) in enumerate(blocks):
    assert language, f"a block of {page} names no language:\n{block}"
    block = re.sub(r"(127\.0\.0\.1|localhost):8002", host, block)
    if language == "json":
        # The configuration of an MCP client: started as it says, with a store of its own.
        for server in json.loads(block)["mcpServers"].values():
            command = [*server["args"], "--store", "memory:", "--model", "expert"]
            block = (
                "from mcp import Client, StdioServerParameters\n"
                f"async with Client(StdioServerParameters(command={binary!r}, args={command!r})) as client:\n"
                "    assert (await client.list_tools()).tools\n"
            )
        language = "python"
    (out / f"{number:02}.{language}").write_text(block)
