"""What the benchmarks of benches/run share."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "perf-agent" / "peers"


def say(text):
    print(f"benches/run: {text}", file=sys.stderr, flush=True)


def build(command, *names):
    """Builds with cargo; the paths of the programs of these names."""
    built = subprocess.run(
        ["cargo", *command, "--message-format=json"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    made = {
        message["target"]["name"]: message["executable"]
        for message in messages if message.get("reason") == "compiler-artifact" and message.get("executable")
    }
    return [made[name] for name in names]


def venv(name, packages):
    """A Python with these packages, made once."""
    folder = CACHE / name
    python = folder / "bin" / "python"
    # Written last: an installation that broke off is done again.
    done = folder / "installed.json"
    if not done.exists() or json.loads(done.read_text()) != packages:
        say(f"installing {', '.join(packages)} in a venv")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
        done.write_text(json.dumps(packages))
    return str(python)


def machine():
    model = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    load = os.getloadavg()[0]
    return {"cores": os.cpu_count(), "cpu": model[0] if model else "unknown", "load_before": round(load, 2)}


def row(title, unit, ours, theirs, bar, more, **others):
    """A line of a table: what this program does, what its peer does, the bar, and whether it is held."""
    ratio = (ours / theirs if more else theirs / ours) if ours and theirs else None
    held = None if bar is None or ours is None else (ours >= bar if more else ours <= bar)
    return {
        "case": title, "unit": unit, "ours": ours, "langgraph": theirs, "ratio_to_langgraph": ratio, **others,
        "bar": bar, "bar_is": "at least" if more else "at most", "held": held,
    }


def number(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(rows, columns):
    """`rows` as Markdown; `columns` are (heading, key)."""
    headings = " | ".join(heading for heading, _ in columns)
    yield f"| case | unit | {headings} | bar | |"
    yield "|---|---|" + "---:|" * len(columns) + "---:|---|"
    for line in rows:
        sign = "≥" if line["bar_is"] == "at least" else "≤"
        bar = f"{sign} {number(line['bar'])}" if line["bar"] is not None else ""
        held = {True: "held", False: "MISSED", None: ""}[line["held"]]
        figures = " | ".join(number(line[key]) for _, key in columns)
        yield f"| {line['case']} | {line['unit']} | {figures} | {bar} | {held} |"
