"""Three engines behind the gateway, with prompts that share prefixes: how much of them is found in
a cache, how fast it goes, and what becomes of requests when an engine is killed.

    SLUICE_BINARY=build/release/bin/sluice SLUICE_MODEL=model.gguf \\
        tools/python bench/gateway/routing.py [--rounds 3]

Each engine has one thread and KV for 40 % of the prefixes. Compared with one engine that has the KV
of all three (whose hit rate no routing can beat), and with the same three engines asked in turn
without a gateway (round robin, at its best: no hop, no accounts). Every run starts fresh engines,
so the first use of each prefix is a miss everywhere.
"""

import argparse
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "wire"))

import fleet  # noqa: E402

PREFIX_WORDS = 1260  # about 1,500 tokens: a manual, a contract, a conversation so far
QUESTION_WORDS = 12
SHARE_OF_PREFIXES = 0.4  # for which an engine has KV
PAGE_TOKENS = 32
STREAMS = 6


def make_asks(count: int, prefixes: list[str], max_tokens: int, seed: int) -> list[fleet.Ask]:
    rng = random.Random(seed)
    return [fleet.Ask(fleet.chat(rng.choice(prefixes), fleet.words(QUESTION_WORDS, rng)),
                      max_tokens) for _ in range(count)]  # fmt: skip


def engine_options(prefixes: list[str], engines: int) -> tuple[str, ...]:
    """KV for SHARE_OF_PREFIXES of the prefixes in each of `engines`, in one."""
    pages = sum(-(-tokens // PAGE_TOKENS) for tokens in fleet.tokens_of(prefixes))
    budget = round(SHARE_OF_PREFIXES * pages) * engines * fleet.page_bytes()
    return ("--kv-budget", str(budget), "--context-length", "2048")


# The answers, and the engines' processor time.
Outcome = tuple[list[fleet.Answer], float]


def in_turn(asks, options) -> Outcome:
    engines = [fleet.engine(*options) for _ in range(3)]
    try:
        answers = fleet.run_load([one.url for one in engines], asks, STREAMS)
        return answers, fleet.processor_s(engines)
    finally:
        for one in engines:
            one.__exit__(None, None, None)


def single(asks, options) -> Outcome:
    with fleet.engine(*options) as one:
        return fleet.run_load([one.url], asks, STREAMS), fleet.processor_s([one])


def three_engines(options) -> fleet.Fleet:
    return fleet.Fleet([fleet.Pool([options] * 3)])


def through_gateway(asks, options) -> Outcome:
    with three_engines(options) as all_three:
        answers = fleet.run_load([all_three.gateway.url], asks, STREAMS)
        return answers, fleet.processor_s(all_three.engines)


def report(name: str, outcome: Outcome) -> tuple[float, float, float]:
    """Hit rate, tokens per second and per second of the engines' processors."""
    answers, processor_s = outcome
    failures = [answer.failure for answer in answers if answer.failure]
    assert not failures, failures
    rate, speed = fleet.hit_rate(answers), fleet.output_tok_s(answers)
    paced = sum(answer.output_tokens for answer in answers) / processor_s
    print(f"{name:24} hit rate {rate:.3f}   {speed:7.1f} tok/s   {paced:7.1f} tokens per second of "
          "the engines' processors", flush=True)  # fmt: skip
    return rate, speed, paced


def compare(asked: argparse.Namespace, prefixes: list[str]) -> None:
    asks = make_asks(asked.requests, prefixes, 16, seed=2)
    options = engine_options(prefixes, 1)
    best, *_ = report("one engine, all the KV", single(asks, engine_options(prefixes, 3)))
    for _ in range(asked.rounds):
        _, turn_speed, turn_paced = report("three in turn", in_turn(asks, options))
        rate, speed, paced = report("three by the gateway", through_gateway(asks, options))
        print(f"gateway: {rate / best:.3f} of the one engine's hit rate, "
              f"{speed / turn_speed:.2f} x the tok/s of in turn, by processor time "
              f"{paced / turn_paced:.2f} x")  # fmt: skip


def kill_one(asked: argparse.Namespace, prefixes: list[str]) -> None:
    """An engine is killed while it streams; afterwards all are asked again without that, and every
    text must be the same."""
    asks = make_asks(asked.requests // 3, prefixes, 64, seed=3)
    options = engine_options(prefixes, 3)
    begun = []
    with three_engines(options) as all_three:
        def on_first(answer):  # fmt: skip
            begun.append(answer)
            if len(begun) >= len(asks) // 3:
                all_three.kill(0)

        answers = fleet.run_load([all_three.gateway.url], asks, STREAMS, on_first)
        resumed = all_three.metric("sluice_gateway_streams_resumed_total")
        retried = all_three.metric("sluice_gateway_upstream_retries_total")
    undisturbed, _ = single(asks, options)
    failed = [answer.failure for answer in answers if answer.failure]
    same = sum(a.text == b.text for a, b in zip(answers, undisturbed))
    print(f"one of three killed: {len(asks)} requests, {len(failed)} failed, {resumed:.0f} streams "
          f"went on elsewhere, {retried:.0f} requests were tried again, {same} texts as without "
          "a kill", *failed, sep="\n  ")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prefixes", type=int, default=20)
    parser.add_argument("--requests", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    rng = random.Random(1)
    prefixes = [fleet.words(PREFIX_WORDS, rng) for _ in range(asked.prefixes)]
    compare(asked, prefixes)
    kill_one(asked, prefixes)


if __name__ == "__main__":
    main()
