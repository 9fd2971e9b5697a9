"""Requests per second of the contract route, while ComfyUI samples."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import NamedTuple

from rig.bench_figure import Figure, at_least, at_most
from rig.bench_library import BIG, PAIRS, SMALL, library
from rig.client import Json, Server, ServerError
from rig.graphs import Graph, dual, scene
from rig.server import ROOT, start

PACKS = {"dualpass": ROOT, "dualpass_probe": ROOT / "tests" / "rig" / "probe"}
ROUTE, PEER, BYTES = "/api/admin/loras/compatible", "/api/probe/reread", "/api/probe/bytes"
ROUNDS, SECONDS, CONNECTIONS = 3, 2, 16
STEPS = 20
REQUESTS, P99 = 5000, 100  # a second, ms
MISSING = "contract route under load: skipped, `wrk` is missing (Debian, Ubuntu: apt install wrk)"
MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Load(NamedTuple):
    """What wrk measured: requests a second, p99 in ms, and answers that were errors or none."""

    requests: float
    p99: float
    failed: int


def route_load() -> Iterator[Figure | str]:
    """The route beside one that reads the catalog anew, and beside one that only answers."""
    wrk = shutil.which("wrk")
    if not wrk:
        yield MISSING
        return
    with library() as (_, flags), start(packs=PACKS, flags=flags) as server:
        check(server)
        yield from measured(server, wrk)


def check(server: Server) -> None:
    """Raises ServerError unless the route and its peer know the pairs of the library."""
    for base_model, route in product((BIG, SMALL), (ROUTE, PEER)):
        found = len(server.get(f"{route}/{base_model}").json())
        if found < PAIRS[base_model]:
            raise ServerError(f"{route}/{base_model} answers {found} pairs only.")


def measured(server: Server, wrk: str) -> Iterator[Figure | str]:
    """All paths by turns, so that whatever else the machine does falls on each of them."""
    sizes = {name: len(server.get(f"{ROUTE}/{name}").body) for name in (BIG, SMALL)}
    paths = [f"{route}/{name}" for name, route in product(sizes, (ROUTE, PEER))]
    paths += [f"{BYTES}/{size}" for size in (*sizes.values(), 0)]
    loads: dict[str, list[Load]] = {path: [] for path in paths}
    with sampling(server) as prompts:
        for _, path in product(range(ROUNDS), paths):
            server.get(f"{BYTES}/0")  # comes after the requests that wrk left unanswered
            loads[path].append(load(wrk, server.url + path))
    medians = {path: summary(found) for path, found in loads.items()}
    yield f"contract route while {len(prompts)} prompts ran, the sampler busy {busy(prompts):.0%}:"
    for name, size in sizes.items():
        what = f"  {PAIRS[name]} pairs, {size / 1000:.3g} kB"
        ours, peer = medians[f"{ROUTE}/{name}"], medians[f"{PEER}/{name}"]
        bare = medians[f"{BYTES}/{size}"]
        yield at_least(REQUESTS, f"{what}: requests/s / re-reading", ours.requests, peer.requests)
        yield at_most(P99, f"{what}: p99, ms / re-reading", ours.p99, peer.p99)
        yield at_most(0, f"{what}: requests that failed", ours.failed)
        yield Figure(f"{what}: requests/s / the same bytes", ours.requests, bare.requests)
    empty = medians[f"{BYTES}/0"]
    yield Figure("  an empty answer, the most that ComfyUI gives: requests/s", empty.requests)
    yield Figure("  an empty answer: p99, ms", empty.p99)


def summary(loads: list[Load]) -> Load:
    """The medians of the rounds, and all that failed in any of them."""
    requests = statistics.median(load.requests for load in loads)
    p99 = statistics.median(load.p99 for load in loads)
    return Load(requests, p99, sum(load.failed for load in loads))


def load(wrk: str, url: str) -> Load:
    """Ask for this URL as fast as it is answered, over a few connections that stay open.

    In its p99, wrk counts what it would have asked while the server stalled.
    """
    command = [wrk, "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    requests = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p99 = re.search(r"99%\s+([\d.]+)([a-z]+)", text)
    if not (requests and p99):
        raise ServerError(f"wrk measured nothing at {url}:\n{text}")
    failed = re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write|timeout) (\d+)", text)
    return Load(float(requests[1]), float(p99[1]) * MILLISECONDS[p99[2]], sum(map(int, failed)))


@contextmanager
def sampling(server: Server) -> Iterator[list[Json]]:
    """Prompts on the tiny models, one after the other until the block ends: their histories."""
    server.run(prompt(0))  # loads the models
    prompts: list[Json] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.is_set():
            prompts.append(server.run(prompt(len(prompts) + 1)))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield prompts
    finally:
        ended.set()
        thread.join()


def prompt(seed: int) -> Graph:
    """Seconds of sampling; only the seed changes, so that nothing else runs anew."""
    graph, at = scene()
    settings = {"settings": "manual", "steps": STEPS, "cfg_high": 2.0, "cfg_low": 2.0}
    latent, _ = dual(graph, at, seed=seed, split="step", switch_step=STEPS // 2, **settings)
    graph.add("PreviewAny", source=latent)
    return graph


def busy(prompts: list[Json]) -> float:
    """The part of the time that the prompts ran. Raises ServerError where one failed."""
    spans = []
    if not prompts:
        raise ServerError("No prompt ended while the route was asked.")
    for entry in prompts:
        if entry["status"]["status_str"] != "success":
            raise ServerError(f"A prompt failed: {entry['status']['messages']}")
        times = {kind: data["timestamp"] for kind, data in entry["status"]["messages"]}
        spans.append((times["execution_start"], times["execution_success"]))
    return sum(end - start for start, end in spans) / (spans[-1][1] - spans[0][0])
