"""An engine is killed, or drained, while it streams through the gateway: nobody's request fails,
every text is the one that an engine gives without that, and each has one bill. With the default
model."""

import random
import unittest

import fleet

ENGINE = ("--kv-budget", "64MiB")
STREAMS = 6
MAX_TOKENS = 32
OUTPUT_TOKENS = r'sluice_gateway_usage_total\{.*unit="output_token"\}'


class Survival(unittest.TestCase):
    def test_a_killed_engine_costs_nobody_an_answer(self):
        self.lose_one_of_three((), fleet.Fleet.kill)

    def test_a_drained_engine_hands_its_streams_over(self):
        self.lose_one_of_three(("--drain-timeout", "0.05"), fleet.Fleet.drain)

    def lose_one_of_three(self, options: tuple[str, ...], lose):
        rng = random.Random(1)
        prefix = fleet.words(40, rng)
        asks = [fleet.Ask(fleet.chat(prefix, fleet.words(8, rng)), MAX_TOKENS) for _ in range(12)]
        lost = []
        with fleet.Fleet([fleet.Pool([ENGINE + options] * 3)]) as three:

            def on_first(answer):
                if not lost:
                    lost.append(answer.replica)
                    lose(three, int(answer.replica.removeprefix("engine-")))

            answers = fleet.run_load([three.gateway.url], asks, STREAMS, on_first)
            resumed = three.metric("sluice_gateway_streams_resumed_total")
            billed = three.metric(OUTPUT_TOKENS)
        self.assertEqual([answer.failure for answer in answers if answer.failure], [])
        self.assertEqual({answer.output_tokens for answer in answers}, {MAX_TOKENS})
        self.assertGreaterEqual(resumed, 1)
        self.assertEqual(billed, len(asks) * MAX_TOKENS)
        with fleet.engine(*ENGINE) as one:
            undisturbed = fleet.run_load([one.url], asks, STREAMS)
        self.assertEqual([a.text for a in answers], [a.text for a in undisturbed])


if __name__ == "__main__":
    unittest.main()
