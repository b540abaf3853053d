"""A stand-in for an engine's program: listens, is healthy, has a page, and can fail the ways real engines do.

FAKE_ENGINE picks how: ok · late (503 a few times) · value_error · never · stubborn (ignores SIGTERM) · worker (starts a
child that leaves the process group) · renamed (starts a child without the mark, as vLLM's engine core is once it has
renamed itself and overwritten its environment).
"""

import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

MODE = os.environ.get("FAKE_ENGINE", "ok")
FLAGS = dict(zip(sys.argv, sys.argv[1:]))
looks = 0

if MODE == "value_error":
    wrapped = "(EngineCore_DP0 pid=%d) ERROR 11-24 03:10:09 [core.py:718] " % os.getpid()
    print("INFO 11-24 03:10:01 [api_server.py:1977] vLLM API server version 0.32.0", flush=True)
    print(
        wrapped + "ValueError: Available memory on node 0 (11.98/17.96 GiB) on startup is less than desired CPU "
        "memory utilization (0.92, 16.53 GiB).",
        file=sys.stderr,
    )
    print(
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        file=sys.stderr,
    )
    sys.exit(1)

if MODE == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if MODE == "worker":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)

if MODE == "renamed":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={})
    print("worker %d" % child.pid, flush=True)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        global looks
        if self.path == "/crash":
            os._exit(3)
        if self.path == "/argv":
            return self.answer(200, " ".join(sys.argv[1:]) + " | " + os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "-"))
        looks += 1
        if MODE == "never" or (MODE == "late" and looks < 3):
            return self.answer(503, "loading")
        self.answer(200, "ok")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


print("fake engine serves %s" % FLAGS["--served-model-name"], flush=True)
HTTPServer((FLAGS["--host"], int(FLAGS["--port"])), Handler).serve_forever()
