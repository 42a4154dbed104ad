"""`make bench`: every figure the README speaks of, for this machine, as a table and as bench-results/bench.json."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import sampling as sampling_rows
from tests.bench import stores as store_rows
from tests.bench.load import Shape, run
from tests.bench.processors import costs
from tests.polling import until_sync
from tests.servers.ports import free_port
from tests.servers.program import POOL, Ports, Program, configuration

RESULTS = Path("bench-results/bench.json")


def machine() -> str:
    """CPU, cores, memory and Python, in a line."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in cpuinfo.splitlines() if "model name" in line), "unknown CPU")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) >> 20
    return f"{model}, {cpuinfo.count('processor')} cores, {memory} GiB, Python {platform.python_version()}"


@contextmanager
def sink() -> Iterator[str]:
    """A tracking server that keeps nothing, as a process; its URL."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.sink", str(port)])
    try:
        until_sync(lambda: _answers(port), what="the sink")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return POOL.request("GET", f"http://127.0.0.1:{port}/version").status == 200
    except Exception:  # noqa: BLE001  it is not up yet, in whatever way
        return False


@contextmanager
def bridge(uri: str, processors: dict | None = None) -> Iterator[tuple[Program, float]]:
    """The program in front of a tracking server, and the seconds it took to be ready."""
    with tempfile.TemporaryDirectory() as folder:
        ports = Ports()
        queue = {"storage": "file_storage", "sizer": "bytes", "queue_size": 8 << 30}
        config = configuration(
            ports, Path(folder), {"tracking_uri": uri, "sending_queue": queue}, processors=processors
        )
        program = Program(config, Path(folder), ports)
        started = time.perf_counter()
        with program:
            yield program, time.perf_counter() - started


def door(rows: list[dict]) -> None:
    """The way in: spans/s and req/s with the journal on, latency of OK, start and footprint."""
    with sink() as uri, bridge(uri) as (program, seconds):
        rows.append(row("ready", seconds, "s", "<= 2"))
        rows.append(row("idle RSS", program.rss() / 2**20, "MiB", "<= 64"))
        paced = run(program.ports.grpc, Shape(requests=2000, spans=8, rate=200))
        rows.append(row("OK at 200 req/s, p50", paced.p50 * 1000, "ms", ""))
        rows.append(row("OK at 200 req/s, p99", paced.p99 * 1000, "ms", "<= 30"))
        small = Shape(requests=6000, spans=8, in_flight=64)
        rows.append(row("8-span requests", small.requests / _seconds(program, small), "req/s", ">= 1000"))
        large = Shape(requests=400, spans=512)
        rows.append(row("512-span requests", large.requests * 512 / _seconds(program, large), "spans/s", ">= 40000"))
        rows.append(row("RSS after the load", program.rss() / 2**20, "MiB", ""))


def processors(rows: list[dict]) -> None:
    """What a processor costs a span."""
    goals = {"genai + tag_schema": "<= 40", "redaction, all detectors": "<= 30"}
    for name, cost in costs().items():
        rows.append(row(name, cost, "us/span", goals.get(name, "")))


def stores(rows: list[dict]) -> None:
    """Into MLflow's store: its own endpoint, the bridge into both databases and to a tracking server, the limit."""
    for kind in ("sqlite", "postgresql"):
        rows += store_rows.rows(kind, row)


def _seconds(program: Program, shape: Shape) -> float:
    outcome = run(program.ports.grpc, shape)
    assert outcome.failed == 0, f"{outcome.failed} requests were refused"
    return outcome.seconds


def row(name: str, value: float, unit: str, goal: str) -> dict:
    """One line of the table; printed at once, as some take a while."""
    made = {"name": name, "value": round(value, 3), "unit": unit, "goal": goal}
    digits = 2 if unit == "x" else 1
    print(f"{name:84} {value:12,.{digits}f} {unit:10} {goal}", flush=True)
    return made


def sampling(rows: list[dict]) -> None:
    """What sampling costs."""
    rows += sampling_rows.rows(bridge, sink, row)


ROWS: dict[str, Callable[[list[dict]], None]] = {
    "door": door,
    "processors": processors,
    "sampling": sampling,
    "stores": stores,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("only", nargs="*", choices=[[], *ROWS], help="these groups of rows; all of them by default")
    chosen = parser.parse_args().only or list(ROWS)
    rows: list[dict] = []
    print(machine())
    for name in chosen:
        ROWS[name](rows)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
