"""The valve with real engines: two throttled local ones and one that is rented, bursts that the
local ones cannot answer in time, and a target for the whole answer.

    SLUICE_BINARY=build/release/bin/sluice SLUICE_MODEL=model.gguf \\
        tools/python bench/gateway/valve_run.py [--seconds 60] [--arms local rented valve]

All engines compute; their pace is a clock's (--step-ms-min), well below what this machine can do,
so that they do not wait for each other's cores: 20 tokens/s in each place, of which the local ones
have 3 and the rented one 32. Requests come at random, three a second, and twelve more at once every
ten seconds; answers have 16 to 48 tokens, so they take 0.9 to 2.5 s where they start at once, and
shall be whole within --target-s.
Prints, as soon as each arm has ended (--seconds and a few more), how many answers came within the
target, what was paid and how many went to the rented engine; and how late the client's own clock
was, which says whether the machine was free enough to believe the rest.
"""

import argparse
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "wire"))

import fleet  # noqa: E402

INPUT_PRICE, OUTPUT_PRICE = 0.10, 0.40  # of the rented pool, per million tokens
PROMPT_WORDS = 40
OUTPUT_TOKENS = (16, 48)
RATE_PER_S = 3
BURST, BURST_EVERY_S = 12, 10
STREAMS_MAX = 128
PRICES = (
    '[[prices]]\nversion = 1\nside = "cost"\npool = "rented"\n'
    f'input_per_million = "{INPUT_PRICE}"\noutput_per_million = "{OUTPUT_PRICE}"\n'
)


def arrivals(seconds: float, rng: random.Random) -> list[float]:
    times = []
    at_s = rng.expovariate(RATE_PER_S)
    while at_s < seconds:
        times.append(at_s)
        at_s += rng.expovariate(RATE_PER_S)
    bursts = [at for at in range(5, int(seconds), BURST_EVERY_S) for _ in range(BURST)]
    return sorted(times + bursts)


def make_asks(seconds: float) -> list[fleet.Ask]:
    rng = random.Random(4)
    return [fleet.Ask(fleet.chat("Answer.", fleet.words(PROMPT_WORDS, rng)),
                      rng.randint(*OUTPUT_TOKENS), at_s)
            for at_s in arrivals(seconds, rng)]  # fmt: skip


def pool(name: str, engines: int, places: int, step_ms: int, entries: str) -> fleet.Pool:
    """What its operator says of an engine is what its clock makes of it."""
    options = ("--kv-budget", "128MiB", "--context-length", "1024",
               "--max-sequences", str(places), "--step-ms-min", str(step_ms))  # fmt: skip
    speed = (
        f"prefill_tokens_per_s = 1000\ndecode_tokens_per_s = {1000 / step_ms:.0f}\n"
        f"decode_tokens_per_s_max = {places * 1000 / step_ms:.0f}\nstreams_max = {places}"
    )
    return fleet.Pool([options] * engines, name, entries, speed)


POOLS = {
    "here": pool("here", 2, 3, 50, 'place = "local"'),
    "rented": pool("rented", 1, 32, 50, 'place = "remote"\nowner = "provider"\n'
                   'data_classes = ["public", "internal"]\nround_trip_ms = 1'),
}  # fmt: skip
ARMS = {"local": ("here",), "rented": ("rented",), "valve": ("here", "rented")}


def cost(answers: list[fleet.Answer]) -> float:
    return sum(INPUT_PRICE * a.prompt_tokens + OUTPUT_PRICE * a.output_tokens
               for a in answers if a.pool == "rented") / 1e6  # fmt: skip


class Lateness:
    """How late a thread wakes up that asks to be woken every 10 ms."""

    EVERY_S = 0.01

    def __enter__(self) -> "Lateness":
        self.most_s, self.stopped = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        asked_s = time.monotonic()
        while not self.stopped.wait(self.EVERY_S):
            now_s = time.monotonic()
            self.most_s = max(self.most_s, now_s - asked_s - self.EVERY_S)
            asked_s = now_s

    def __exit__(self, kind, error, trace) -> None:
        self.stopped.set()
        self.thread.join()


def run(name: str, names: tuple[str, ...], asked: argparse.Namespace) -> float:
    target_ms = round(asked.target_s * 1000)
    target = f'[models.defaults.target]\ntotal_ms = {target_ms}\ntotal_statistic = "p99"'
    used = [POOLS[each] for each in names]
    prices = PRICES if "rented" in names else ""
    with fleet.Fleet(used, target, prices) as engines, Lateness() as late:
        answers = fleet.run_load([engines.gateway.url], make_asks(asked.seconds), STREAMS_MAX)
    failed = [answer.failure for answer in answers if answer.failure]
    times = sorted(answer.end_s - answer.sent_s for answer in answers)
    met = sum(not a.failure and a.end_s - a.sent_s <= asked.target_s for a in answers)
    rented = sum(answer.pool == "rented" for answer in answers)
    print(
        f"{name:6} {len(answers)} requests, {len(failed)} failed, {met / len(answers):.2%} within "
        f"{asked.target_s:g} s (p50 {times[len(times) // 2]:.2f} s, p99 "
        f"{times[len(times) * 99 // 100]:.2f} s, largest {times[-1]:.2f} s), "
        f"{rented / len(answers):.1%} rented, cost {cost(answers):.6f}, the client at most "
        f"{late.most_s * 1000:.0f} ms late", *failed[:3], sep="\n  ", flush=True,
    )  # fmt: skip
    return cost(answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target-s", type=float, default=3)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    asked = parser.parse_args()
    costs = {name: run(name, ARMS[name], asked) for name in asked.arms}
    if "rented" in costs and "valve" in costs:
        print(f"the valve paid {costs['valve'] / costs['rented']:.1%} of all rented")


if __name__ == "__main__":
    main()
