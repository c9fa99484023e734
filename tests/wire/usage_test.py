"""The verb `usage`: sums, one request, the proof; what it prints and its exit codes."""

import collections
import csv
import io
import json
import os
import pathlib
import sqlite3
import subprocess
import tempfile
import unittest

BINARY = pathlib.Path(os.environ["SLUICE_BINARY"])
FILL = BINARY.parent / "store_fill"
RECORDS = 3000


def usage(*arguments: str) -> subprocess.CompletedProcess:
    command = [BINARY, "usage", *arguments]
    return subprocess.run(command, capture_output=True, check=False, text=True)


class Usage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.data = cls.folder.name
        cls.database = pathlib.Path(cls.data) / "store.db"
        filled = subprocess.run([FILL, f"sqlite:{cls.database}", "5", str(RECORDS)],
                                capture_output=True, check=True, text=True)  # fmt: skip
        cls.events = [json.loads(line) for line in filled.stdout.splitlines()]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def report(self, *arguments: str) -> str:
        if "--from" not in arguments:
            arguments = ("--from", "2025-11-01", "--to", "2025-12-01", *arguments)
        done = usage("--data-folder", self.data, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def due(self, group: str) -> dict:
        sums = collections.defaultdict(collections.Counter)
        for event in self.events:
            sums[event[group]]["requests"] += 1
            for field in ("output_tokens", "amount_nano"):
                sums[event[group]][field] += event[field]
        return sums

    def assert_sums(self, rows: list[dict], group: str):
        due = self.due(group)
        self.assertEqual([row[group] for row in rows], sorted(due))
        for row in rows:
            found = {field: int(row[field]) for field in due[row[group]]}
            self.assertEqual(found, dict(due[row[group]]))

    def test_csv_has_a_line_for_each_key(self):
        self.assert_sums(list(csv.DictReader(io.StringIO(self.report("-o", "csv")))), "key")

    def test_json_by_model_and_by_tenant(self):
        for group in ("model", "tenant"):
            self.assert_sums(json.loads(self.report("--by", group, "-o", "json")), group)

    def test_by_day_and_model(self):
        rows = json.loads(self.report("--by", "day,model", "-o", "json"))
        self.assertEqual(sum(row["requests"] for row in rows), len(self.events))
        self.assertEqual({row["day"] for row in rows},
                         {"2025-11-22", "2025-11-23", "2025-11-24"})  # fmt: skip
        days = ("--from", "2025-11-23", "--to", "2025-11-23")
        one_day = json.loads(self.report(*days, "--by", "day", "-o", "json"))
        self.assertEqual([row["day"] for row in one_day], ["2025-11-23"])

    def test_the_table_closes_with_the_sum(self):
        last = self.report().splitlines()[-1].split()
        self.assertEqual(last[:2], ["all", str(len(self.events))])

    def test_one_request(self):
        event = next(event for event in self.events if event["lines"] > 2)
        done = usage("show", event["request"], "--data-folder", self.data, "-o", "json")
        shown = json.loads(done.stdout)
        self.assertEqual(shown["outcome"], event["outcome"])
        self.assertEqual(len(shown["lines"]), event["lines"])
        self.assertEqual(sum(line["amount_nano"] for line in shown["lines"]), event["amount_nano"])
        text = usage("show", event["request"], "--data-folder", self.data).stdout
        self.assertIn(event["outcome"], text)
        self.assertIn(f"  {shown['kind']}  ", text)
        self.assertIn(f"decision {shown['decision']}\n", text)

    def test_a_request_says_its_kind_and_where_the_valve_sent_it(self):
        said = collections.defaultdict(set)
        for event in self.events[:60]:
            done = usage("show", event["request"], "--data-folder", self.data, "-o", "json")
            for field in ("kind", "decision"):
                said[field].add(json.loads(done.stdout)[field])
        self.assertEqual(said["kind"], {"chat_completion", "completion", "embedding"})
        self.assertGreater(len(said["decision"]), 3)
        self.assertIn("local", said["decision"])

    def test_a_request_with_a_parent(self):
        """In a tenth of the stream: the request before it."""
        for event in self.events:
            request = event["request"]
            done = usage("show", request, "--data-folder", self.data, "-o", "json")
            shown = json.loads(done.stdout)
            if shown["parent"]:
                break
        start, _, count = request.rpartition("_")
        self.assertEqual(shown["parent"], f"{start}_{int(count, 16) - 1:016x}")
        text = usage("show", request, "--data-folder", self.data).stdout
        self.assertIn(f"parent {shown['parent']}\n", text)

    def test_an_unknown_request(self):
        done = usage("show", "req_00000000000000a1_00000100ffffffff", "--data-folder", self.data)
        self.assertEqual(done.returncode, 1)
        self.assertIn("has no usage event", done.stderr)
        self.assertEqual(usage("show", "req_1", "--data-folder", self.data).returncode, 1)

    def test_verify_finds_as_many_events_as_there_were(self):
        done = usage("verify", "--data-folder", self.data, "-o", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        proof = json.loads(done.stdout)
        self.assertEqual((proof["events"], proof["faults"]), (len(self.events), 0))
        store = usage("verify", "--store", f"sqlite:{self.database}")
        self.assertTrue(store.stdout.endswith("all equal\n"), store.stdout)

    def test_verify_fails_where_a_balance_is_wrong(self):
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "store.db"
            with sqlite3.connect(self.database) as source, sqlite3.connect(copy) as target:
                source.backup(target)
                target.execute("UPDATE accounts SET balance = balance + 1 WHERE kind = 2")
            done = usage("verify", "--data-folder", folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn("wrong: platform: the balance is", done.stdout)

    def test_verify_says_what_it_could_not_recompute(self):
        whole = json.loads(usage("verify", "--data-folder", self.data, "-o", "json").stdout)
        self.assertEqual(whole["amounts_unchecked"], 0)
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "store.db"
            with sqlite3.connect(self.database) as source, sqlite3.connect(copy) as target:
                source.backup(target)
                target.execute("DELETE FROM prices")
            done = usage("verify", "--data-folder", folder)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertRegex(done.stdout, r"not recomputed: \d+ amounts")

    def test_wrong_usage(self):
        for arguments in (("--data-folder", "a", "--store", "b"), ("--by", "colour")):
            self.assertEqual(usage(*arguments).returncode, 2, arguments)
        late = ("--from", "2025-12-01", "--to", "2025-11-01")
        for arguments in (("--data-folder", "no-such-folder"), ("--store", "mysql://a"),
                          ("--data-folder", self.data, "--from", "yesterday"),
                          ("--data-folder", self.data, *late)):  # fmt: skip
            done = usage(*arguments)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertTrue(done.stderr.startswith("sluice usage: "), done.stderr)
        self.assertIn("Examples:", usage("--help").stdout)


if __name__ == "__main__":
    unittest.main()
