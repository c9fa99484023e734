"""An engine is killed while it streams through the gateway: nobody's request fails, and every text
is the one that an engine gives without that. With the default model."""

import random
import unittest

import fleet

ENGINE = ("--kv-budget", "64MiB")
STREAMS = 6
MAX_TOKENS = 32


class Survival(unittest.TestCase):
    def test_a_killed_engine_costs_nobody_an_answer(self):
        rng = random.Random(1)
        prefix = fleet.words(40, rng)
        asks = [fleet.Ask(fleet.chat(prefix, fleet.words(8, rng)), MAX_TOKENS) for _ in range(12)]
        killed = []
        with fleet.Fleet([fleet.Pool([ENGINE] * 3)]) as three:

            def on_first(answer):
                if not killed:
                    killed.append(answer.replica)
                    three.kill(int(answer.replica.removeprefix("engine-")))

            answers = fleet.run_load([three.gateway.url], asks, STREAMS, on_first)
            resumed = three.metric("sluice_gateway_streams_resumed_total")
        self.assertEqual([answer.failure for answer in answers if answer.failure], [])
        self.assertEqual({answer.output_tokens for answer in answers}, {MAX_TOKENS})
        self.assertGreaterEqual(resumed, 1)
        with fleet.engine(*ENGINE) as one:
            undisturbed = fleet.run_load([one.url], asks, STREAMS)
        self.assertEqual([a.text for a in answers], [a.text for a in undisturbed])


if __name__ == "__main__":
    unittest.main()
