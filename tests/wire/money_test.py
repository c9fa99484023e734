"""A small storm (money_storm.py) over the real binary, on both databases: whatever dies, the books
agree with what clients, engines and the administrator saw."""

import os
import unittest

from money_storm import Options, run_storm


class Money(unittest.TestCase):
    def storm(self, **options):
        seed = int.from_bytes(os.urandom(4), "big")
        faults, summary = run_storm(Options(seed=seed, **options))
        print(summary)
        self.assertEqual(faults[:20], [], f"seed {seed}")
        self.assertEqual(summary["requests"], options["requests"])
        self.assertGreater(summary["outcomes"]["complete"], options["requests"] // 4)
        self.assertGreater(summary["outcomes"]["client_abort_before_first_token"], 0)
        self.assertGreater(summary["resumed"], 0)

    def test_on_sqlite_with_a_real_engine(self):
        model = os.environ["SLUICE_MODEL"]
        self.storm(requests=2000, gateway_deaths=4, engine_deaths=5, model=model)

    def test_on_postgresql(self):
        self.storm(requests=2000, gateway_deaths=4, engine_deaths=5, store="postgresql")


if __name__ == "__main__":
    unittest.main()
