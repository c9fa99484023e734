"""Resident memory of `serve` under load stays within what it promises: model file + KV budget +
150 MB, whatever clients send."""

import concurrent.futures
import os
import random
import re
import unittest

import openai

from http_exchange import exchange, is_idle, post, wait_for_metrics
from running_server import RunningServer, model

KV_BUDGET_MIB = 128
OVERHEAD_BYTES = 150_000_000
WORDS = "water light river stone early paper music green house letter number".split()


UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def byte_sizes(text: str) -> list[float]:
    return [float(n) * UNITS[unit] for n, unit in re.findall(r"([\d.]+) ([KMG]?i?B)\b", text)]


class Memory(unittest.TestCase):
    def test_the_printed_parts_add_up(self):
        with RunningServer("--kv-budget", f"{KV_BUDGET_MIB}MiB") as server:
            line = next(s for s in server.log().splitlines() if s.startswith("memory"))
        total, *parts = byte_sizes(line)
        self.assertEqual(len(parts), 4, line)  # weights as packed, KV, activations, logits
        self.assertAlmostEqual(total, sum(parts), delta=0.2 * 2**20, msg=line)
        self.assertGreater(parts[0], 0.9 * os.path.getsize(model()), line)
        self.assertLessEqual(parts[1], KV_BUDGET_MIB * 2**20, line)

    def test_within_the_promise(self):
        promised = os.path.getsize(model()) + KV_BUDGET_MIB * 2**20 + OVERHEAD_BYTES
        with RunningServer("--kv-budget", f"{KV_BUDGET_MIB}MiB") as server:
            client = openai.OpenAI(base_url=server.url + "/v1", api_key="-", max_retries=0)
            name = client.models.list().data[0].id
            rng = random.Random(5)
            peak = 0

            def ask(prompt_words):
                client.completions.create(
                    model=name, prompt=" ".join(rng.choices(WORDS, k=prompt_words)), max_tokens=8,
                    logprobs=5, n=2,
                )  # fmt: skip
                return server.resident_bytes()

            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                peak = max(pool.map(ask, [20, 200, 1000, 50] * 8))
            wait_for_metrics(server.url, "idle", is_idle)
            samples = wait_for_metrics(server.url, "the budget was used", lambda m: True)
            self.assertGreater(samples['sluice:kv_pages{state="cached"}'], 100)
            # Bodies at the limit, one after the other, are gone when they are answered.
            for _ in range(3):
                status, _, _ = exchange(
                    server.port, post("/v1/completions", b'{"prompt":"' + b"a" * 33_000_000 + b'"}')
                )
                self.assertEqual(status, 400)
            peak = max(peak, server.resident_bytes())
            print(f"resident {peak / 2**20:.0f} MiB, promised {promised / 2**20:.0f} MiB")
            self.assertLess(peak, promised)


if __name__ == "__main__":
    unittest.main(verbosity=2)
