"""Resident memory of `serve` at its peak stays within what it promises: model file + KV budget +
150 MB, and twice request_bytes_max more while clients send large bodies."""

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
REQUEST_BYTES_MAX = 48 << 20
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

            def ask(prompt_words):
                client.completions.create(
                    model=name, prompt=" ".join(rng.choices(WORDS, k=prompt_words)), max_tokens=8,
                    logprobs=5, n=2,
                )  # fmt: skip

            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                list(pool.map(ask, [20, 200, 1000, 50] * 8))
            wait_for_metrics(server.url, "idle", is_idle)
            samples = wait_for_metrics(server.url, "the budget was used", lambda m: True)
            self.assertGreater(samples['sluice:kv_pages{state="cached"}'], 100)
            self.check(server, promised)
            # Large bodies at once: of text, and of as many numbers as a body may have.
            bodies = [b'{"prompt":"' + b"a" * 16_000_000 + b'"}',
                      b'{"prompt":[' + b"1," * 1_000_000 + b"1]}",
                      b'{"prompt":[' + b"1," * 8_000_000 + b"1]}"] * 2  # fmt: skip
            with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
                answers = pool.map(
                    lambda body: exchange(server.port, post("/v1/completions", body))[0], bodies
                )
                self.assertLessEqual(set(answers), {400, 503})
            self.check(server, promised + 2 * REQUEST_BYTES_MAX)

    def check(self, server, promised):
        peak = server.peak_resident_bytes()
        print(f"resident {peak / 2**20:.0f} MiB at most, promised {promised / 2**20:.0f} MiB")
        self.assertLess(peak, promised)


if __name__ == "__main__":
    unittest.main(verbosity=2)
