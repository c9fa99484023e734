"""The valve with real engines: two throttled local ones and one that is rented, bursts that the
local ones cannot answer in time, and a target for the whole answer.

    SLUICE_BINARY=build/release/bin/sluice SLUICE_MODEL=model.gguf \\
        tools/python bench/gateway/valve_run.py [--target-s 6]

The local engines are throttled to one sequence at a time (--max-sequences 1), as a small machine
would be; the rented one takes 16. All run on this machine and share its cores: what the rented one
computes slows the local ones down, and it is no faster than they are.
Prints how many answers came within the target and what was paid, for local only, all rented and the
valve.
"""

import argparse
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "wire"))

import fleet  # noqa: E402

INPUT_PRICE, OUTPUT_PRICE = 0.10, 0.40  # of the rented pool, per million tokens
PROMPT_WORDS = 40
MAX_TOKENS = 24
STREAMS_MAX = 64
PRICES = (
    '[[prices]]\nversion = 1\nside = "cost"\npool = "rented"\n'
    f'input_per_million = "{INPUT_PRICE}"\noutput_per_million = "{OUTPUT_PRICE}"\n'
)


def arrivals(seconds: float, rng: random.Random) -> list[float]:
    """One every two seconds on average, and a burst of twelve every fifteen seconds."""
    times = []
    at_s = rng.expovariate(0.5)
    while at_s < seconds:
        times.append(at_s)
        at_s += rng.expovariate(0.5)
    bursts = [at for at in range(5, int(seconds), 15) for _ in range(12)]
    return sorted(times + bursts)


def make_asks(seconds: float) -> list[fleet.Ask]:
    rng = random.Random(4)
    return [fleet.Ask(fleet.chat("Answer.", fleet.words(PROMPT_WORDS, rng)), MAX_TOKENS, at_s)
            for at_s in arrivals(seconds, rng)]  # fmt: skip


def speed_alone() -> float:
    """Decode tokens per second of one engine with nothing else to do, as its operator would say."""
    rng = random.Random(5)
    asks = [fleet.Ask(fleet.chat("Answer.", fleet.words(4, rng)), 64) for _ in range(3)]
    with fleet.engine("--kv-budget", "64MiB") as one:
        answers = fleet.run_load([one.url], asks, 1)
    return sum(a.output_tokens - 1 for a in answers) / sum(a.end_s - a.first_s for a in answers)


def pools(names: tuple[str, ...], tok_s: float) -> list[fleet.Pool]:
    def speed(streams: int, share: float) -> str:
        return (
            f"prefill_tokens_per_s = {5 * tok_s:.0f}\ndecode_tokens_per_s = {tok_s:.0f}\n"
            f"decode_tokens_per_s_max = {share * tok_s:.0f}\nstreams_max = {streams}"
        )

    options = ("--kv-budget", "128MiB", "--context-length", "1024")
    local = fleet.Pool([(*options, "--max-sequences", "1")] * 2, speed=speed(1, 1))
    rented = fleet.Pool(
        [(*options, "--max-sequences", "16")], "rented",
        'place = "remote"\nowner = "provider"\ndata_classes = ["public", "internal"]',
        speed(16, 3),
    )  # fmt: skip
    return [pool for name, pool in (("here", local), ("rented", rented)) if name in names]


def cost(answers: list[fleet.Answer]) -> float:
    return sum(INPUT_PRICE * a.prompt_tokens + OUTPUT_PRICE * a.output_tokens
               for a in answers if a.pool == "rented") / 1e6  # fmt: skip


def run(name: str, used: list[fleet.Pool], asked: argparse.Namespace) -> None:
    target_ms = round(asked.target_s * 1000)
    target = f'[models.defaults.target]\ntotal_ms = {target_ms}\ntotal_statistic = "p99"'
    prices = PRICES if any(pool.name == "rented" for pool in used) else ""
    with fleet.Fleet(used, target, prices) as engines:
        answers = fleet.run_load([engines.gateway.url], make_asks(asked.seconds), STREAMS_MAX)
    failed = [answer.failure for answer in answers if answer.failure]
    times = sorted(answer.end_s - answer.sent_s for answer in answers)
    met = sum(not a.failure and a.end_s - a.sent_s <= asked.target_s for a in answers)
    rented = sum(answer.pool == "rented" for answer in answers)
    print(
        f"{name:11} {len(answers)} requests, {len(failed)} failed, {met / len(answers):.2%} within "
        f"{asked.target_s:g} s (p50 {times[len(times) // 2]:.2f} s, largest {times[-1]:.2f} s), "
        f"{rented} rented, cost {cost(answers):.6f}", *failed[:3], sep="\n  ", flush=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target-s", type=float, default=6)
    parser.add_argument("--seconds", type=float, default=50)
    asked = parser.parse_args()
    tok_s = speed_alone()
    print(f"one engine alone: {tok_s:.1f} tok/s", flush=True)
    for name, used in (("local only", ("here",)), ("all rented", ("rented",)),
                       ("valve", ("here", "rented"))):  # fmt: skip
        run(name, pools(used, tok_s), asked)


if __name__ == "__main__":
    main()
