"""The HTTP server beside `langgraph dev`: the same graph, the same client, one after the other on the same machine."""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from common import ROOT, build, row, say, venv

DEV = ["langgraph-cli[inmem]", "langgraph==1.2.22"]
STREAMS = 1_000
COLUMNS = [("this program", "ours"), ("langgraph dev", "langgraph"), ("times better", "ratio_to_langgraph")]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def status_of(port, path):
    """The status of a GET, None where nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = connection.makefile("rb").readline().split()
            return int(answer[1]) if len(answer) > 1 else None
    except OSError:
        return None


@contextmanager
def serving(command, port, path, folder):
    """A server from its start to its end; yields its process, its port and how long its first answer took [ms]."""
    with open(Path(folder) / "server.log", "w") as log:
        begun = time.perf_counter()
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            while status_of(port, path) != 200:
                if server.poll() is not None or time.perf_counter() - begun > 120:
                    raise RuntimeError("the server does not answer:\n" + (Path(folder) / "server.log").read_text()[-2000:])
                time.sleep(0.0005)
            yield server, port, (time.perf_counter() - begun) * 1e3
        finally:
            # It leads a process group of its own, and may be gone already.
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def rss_mib(server):
    """Memory of a server and all that it started [MiB]."""
    kib = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The fields after the program's name, which is in brackets: state, parent, process group …
            group = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[2])
            if group == server.pid:
                lines = (entry / "status").read_text().splitlines()
                kib += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        except (OSError, ValueError):
            continue
    return kib / 1024


class Ours:
    def __init__(self, binary):
        self.binary, self.seconds, self.repeat = binary, 3, 3

    def serve(self, folder):
        port, graphs = free_port(), ROOT / "tests/graphs"
        command = [self.binary, "serve", "--port", str(port), "--model", "expert", "--store", "memory:"]
        command += ["--graphs", str(graphs), "--prompts", str(graphs / "prompts")]
        return serving(command, port, "/health", folder)

    health = "/health"


class Theirs:
    def __init__(self, python):
        self.langgraph, self.seconds, self.repeat = str(Path(python).parent / "langgraph"), 8, 1

    def serve(self, folder):
        for name in ["graph.py", "langgraph.json"]:
            shutil.copy(ROOT / "benches/peers/dev" / name, folder)
        port = free_port()
        command = [self.langgraph, "dev", "--no-browser", "--no-reload", "--port", str(port)]
        return serving(command, port, "/ok", folder)

    health = "/ok"


def measured(who, client):
    """Everything about one server."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        cold = []
        for _ in range(5 if who.repeat > 1 else 2):
            with who.serve(folder) as (server, port, first_ms):
                cold.append(first_ms)
                time.sleep(1)
                found["idle_mib"] = rss_mib(server)
        found["cold_ms"] = statistics.median(cold)
        with who.serve(folder) as (server, port, _):
            found["streams_mib"] = streams(client, server, port)
        with who.serve(folder) as (server, port, _):
            for connections in (10, 50):
                found[f"health_{connections}"] = load(who, client, port, who.health, connections)
            for connections in (1, 10, 20):
                found[f"wait_{connections}"] = load(who, client, port, "/runs/wait", connections)
            found["after_load_mib"] = rss_mib(server)
    return found


def load(who, client, port, path, connections):
    """The median run by requests per second."""
    runs = []
    for _ in range(who.repeat):
        say(f"  {path}, {connections} connections")
        command = [client, "load", f"127.0.0.1:{port}", path, str(connections), str(who.seconds)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout))
    return sorted(runs, key=lambda run: run["per_s"])[len(runs) // 2]


def streams(client, server, port):
    """Memory that so many idle event streams add [MiB]; None where they cannot be opened."""
    command = [client, "streams", f"127.0.0.1:{port}", str(STREAMS)]
    opened = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if opened.stdout.readline().strip() != "ready":
            return None
        time.sleep(1)
        before = rss_mib(server)
        opened.stdin.write("\n")
        opened.stdin.flush()
        if opened.stdout.readline().strip() != "open":
            return None
        time.sleep(2)
        return rss_mib(server) - before
    finally:
        opened.stdin.close()
        opened.wait(30)


def api(arguments):
    say("building the server and the client")
    # In one go: built apart, the two would have their dependencies with different features.
    binary, client = build(["build", "--release", "--locked", "--bin", "perf-agent", "--bench", "api"], "perf-agent", "api")
    ours = Ours(binary)
    say("measuring this program")
    found = {"ours": measured(ours, client), "langgraph": {}}
    if not arguments.no_peers:
        theirs = Theirs(venv("langgraph-dev", DEV))
        say("measuring langgraph dev")
        found["langgraph"] = measured(theirs, client)
    return found


def rows(found):
    ours, theirs = found["ours"], found["langgraph"]

    def line(title, unit, bar, more, *keys):
        def at(measured):
            for key in keys:
                measured = (measured or {}).get(key)
            return measured

        return row(title, unit, at(ours), at(theirs), bar, more)

    for connections, bar in [(1, None), (10, 5_000), (20, None)]:
        title = f"POST /runs/wait, {connections} connection{'s' if connections > 1 else ''}"
        yield line(title, "requests/s", bar, True, f"wait_{connections}", "per_s")
        yield line("… p50", "ms", 5 if bar else None, False, f"wait_{connections}", "p50_ms")
        yield line("… p99", "ms", None, False, f"wait_{connections}", "p99_ms")
    yield line("GET /health, 10 connections", "requests/s", None, True, "health_10", "per_s")
    yield line("GET /health, 50 connections", "requests/s", 40_000, True, "health_50", "per_s")
    yield line("… p99", "ms", None, False, "health_50", "p99_ms")
    yield line(f"{STREAMS:,} idle event streams: memory more", "MiB", 20, False, "streams_mib")
    yield line("cold start to the first answer", "ms", 50, False, "cold_ms")
    yield line("memory when idle", "MiB", 25, False, "idle_mib")
    yield line("memory after the load above", "MiB", None, False, "after_load_mib")
