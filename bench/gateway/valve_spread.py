"""The valve against the oracle on data that nobody has tuned for: a shipped scenario under several
seeds and with its parameters changed (docs/valve.md has the figures).

    tools/python bench/gateway/valve_spread.py surge price degrade [--seeds 10] [--perturb]

Each line: the share of requests in time, the valve's cost as a multiple of the oracle's, and what
it is above the oracle's in percent of all remote, over the seeds: least, median, most. --perturb
repeats it with arrivals, the local engines' speed and their places less and more by the --factors,
while the gateway is told what it was told before, and with the second cost of the file (the dearer
remote, or the price that changes) multiplied by them.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SLUICE_BINARY", str(ROOT / "build/release/bin/sluice"))
FIRST_SEED = 20261122
# What each change multiplies, in the parts of the file whose heading matches.
KEYS = {
    "arrivals": (r"cases\.traffic", ("rate_per_s", "rate_night_per_s")),
    "engine times": (r"replicas\.engine", ("step_ms", "step_stream_us", "prompt_token_us")),
    "places": (r"replicas\.(engine|speed)",
               ("kv_tokens", "sequences_max", "busy_at", "streams_max")),
}


def changed(text, seed, change, factor):
    """The scenario with another seed, two arms, and one kind of parameter times factor. Remote
    engines, which have no places to speak of, stay as they are."""
    lines = []
    heading, local, costs = "", True, 0
    for line in text.splitlines():
        if match := re.match(r"\[+([\w.]+)\]+", line):
            heading = match[1]
            costs += heading == "costs"
        if change == "second price" and heading == "costs" and costs == 2:
            if match := re.match(r'(prompt|output) = "([\d.]+)"$', line):
                line = f'{match[1]} = "{float(match[2]) * factor:.4f}"'
        if match := re.match(r'pool = "(\w+)"', line):
            local = match[1] in ("own", "appliance")
        if match := re.match(r"(\w+) = ([\d.]+)$", line):
            key, value = match[1], match[2]
            if key == "seed":
                line = f"seed = {seed}"
            elif change in KEYS and (local or heading == "cases.traffic"):
                where, keys = KEYS[change]
                if re.fullmatch(where, heading) and key in keys:
                    product = float(value) * factor
                    line = f"{key} = {round(product) if change == 'places' else product}"
        if line.startswith("arms = "):
            line = 'arms = ["valve", "oracle", "all_remote"]'
        lines.append(line)
    return "\n".join(lines) + "\n"


def run(text):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        done = subprocess.run([BINARY, "simulate", file.name, "-o", "json"], check=True,
                              capture_output=True, text=True)
    return json.loads(done.stdout)["runs"]


def spread(values):
    return f"{min(values):7.3f} {statistics.median(values):7.3f} {max(values):7.3f}"


def show(name, text, seeds, change, factor, threads):
    texts = [changed(text, FIRST_SEED + i, change, factor) for i in range(seeds)]
    by_case = {}
    with ThreadPoolExecutor(threads) as pool:
        for figures in pool.map(run, texts):
            arms = {(row["case"], row["arm"]): row for row in figures}
            for case in {row["case"] for row in figures}:
                valve, oracle = arms[case, "valve"], arms[case, "oracle"]
                above = valve["cost"] - oracle["cost"]
                by_case.setdefault(case, []).append(
                    (100 * valve["met_share"],
                     valve["cost"] / oracle["cost"] if oracle["cost"] else float("nan"),
                     100 * above / arms[case, "all_remote"]["cost"]))
    for case, rows in sorted(by_case.items()):
        label = f"{change} x {factor}" if change else "as shipped"
        met, cost, above = zip(*rows)
        print(f"{name:8} {case:12} {label:20} met % {spread(met)}   cost {spread(cost)}"
              f"   above {spread(above)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("scenarios", nargs="+", help="names in deploy/scenarios/")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--perturb", action="store_true")
    parser.add_argument("--factors", type=float, nargs="+", default=[0.7, 1.3])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    changes = [(None, 1.0)]
    if options.perturb:
        changes += [(change, factor) for change in [*KEYS, "second price"]
                    for factor in options.factors]
    for name in options.scenarios:
        text = (ROOT / f"deploy/scenarios/{name}.toml").read_text()
        for change, factor in changes:
            show(name, text, options.seeds, change, factor, options.threads)


if __name__ == "__main__":
    main()
