"""What a running gateway shows of itself: spans at a collector, /metrics and the dashboard, the
access log; and that neither prompts nor secrets are in any of it."""

import collections
import http.server
import json
import pathlib
import queue
import re
import sys
import tempfile
import threading
import unittest
import urllib.error
import urllib.request

from money_storm import EngineProcess, nano
from running_gateway import ONE_KEY, REQUEST_TIMEOUT_S, RunningGateway

CONFIG = """
[telemetry]
otlp_url = "{collector}"
[[pools]]
id = "here"
place = "local"
[pools.capacity]
streams_max = 64
tokens_per_minute = 10_000_000
[[models]]
id = "m"
max_tokens_default = 16
[[replicas]]
id = "mock"
pool = "here"
model = "m"
url = "{engine}"
[[prices]]
version = 1
side = "sale"
input_per_million = "0.012345678"
output_per_million = "0.043210987"
"""
SECRET = "sk-nobody-may-read-this"
PROMPT = "the prompt that nobody may read"
REQUESTS = 30
DASHBOARD = pathlib.Path(__file__).parents[2] / "deploy" / "grafana" / "sluice-gateway.json"


class Collector(http.server.BaseHTTPRequestHandler):
    """As much of an OpenTelemetry collector as a sender sees: POST /v1/traces, OTLP/HTTP JSON."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.end_headers()
        for resource in body["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    self.server.spans.put(span)

    def log_message(self, *_):
        pass


def attributes(span: dict) -> dict:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


class Seen(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        cls.collector.spans = queue.Queue()
        threading.Thread(target=cls.collector.serve_forever, daemon=True).start()
        cls.addClassCleanup(cls.collector.server_close)
        cls.addClassCleanup(cls.collector.shutdown)
        mock = pathlib.Path(__file__).parent / "mock_engine.py"
        cls.engine = EngineProcess(
            [sys.executable, str(mock), "--log", f"{cls.folder.name}/engine", "--seed", "1"]
        )
        cls.addClassCleanup(cls.engine.kill)
        pathlib.Path(cls.folder.name, "client").write_text(SECRET)
        config = ONE_KEY + CONFIG.format(
            collector=f"http://127.0.0.1:{cls.collector.server_port}",
            engine=f"http://127.0.0.1:{cls.engine.port}/v1",
        )  # fmt: skip
        lines = f'response_timeout_s = 1\naccess_log_file = "{cls.folder.name}/access"'
        cls.gateway = RunningGateway(config, cls.folder.name, lines)
        cls.addClassCleanup(cls.gateway.__exit__, None, None, None)
        cls.paid = 0
        cls.statuses = collections.Counter()
        for number in range(REQUESTS):
            cls.ask(number)

    @classmethod
    def ask(cls, number: int):
        body = {"model": "m", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 16}
        request = urllib.request.Request(
            cls.gateway.url + "/v1/chat/completions", data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {SECRET}", "x-number": str(number),
                     "Content-Type": "application/json",
                     "traceparent": f"00-{number + 1:032x}-{number + 1:016x}-01"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
                cls.paid += nano(answer.headers["x-sluice-cost"])
                cls.statuses[answer.status] += 1
        except urllib.error.HTTPError as error:
            cls.statuses[error.code] += 1

    def metrics(self) -> str:
        with urllib.request.urlopen(self.gateway.admin_url + "/metrics") as answer:
            return answer.read().decode()

    def test_each_request_is_a_span_of_its_callers_trace(self):
        spans = [self.collector.spans.get(timeout=REQUEST_TIMEOUT_S) for _ in range(REQUESTS)]
        by_trace = {int(span["traceId"], 16): span for span in spans}
        self.assertEqual(set(by_trace), set(range(1, REQUESTS + 1)))
        for trace, span in by_trace.items():
            self.assertEqual(int(span["parentSpanId"], 16), trace)
            self.assertNotEqual(span["spanId"], span["parentSpanId"])
            self.assertLessEqual(int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]))
            self.assertTrue(span["name"].endswith(" m"), span["name"])
        said = collections.Counter(
            int(attributes(span)["http.response.status_code"]) for span in spans
        )
        self.assertEqual(said, self.statuses)

    def test_money_is_the_sum_of_what_clients_paid_in_whole_nano_units(self):
        found = re.search(r'^sluice_gateway_money_nano_total\{model="m",side="sale"\} (\S+)$',
                          self.metrics(), re.MULTILINE)  # fmt: skip
        self.assertEqual(found.group(1), str(self.paid))
        self.assertGreater(self.paid, 0)

    def test_every_metric_of_the_dashboard_is_there_and_lives(self):
        text = self.metrics()
        exported = set(re.findall(r"^([a-z_]+)[ {]", text, re.MULTILINE))
        named = set(re.findall(r"\b(?:sluice|process)_[a-z_]+", DASHBOARD.read_text()))
        self.assertEqual(named - exported, set())
        samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        self.assertGreater(int(samples["sluice_gateway_journal_bytes"]), 0)
        self.assertEqual(samples["sluice_gateway_added_seconds_count"], str(REQUESTS))
        self.assertEqual(samples['sluice_gateway_valve_saturation{model="m"}'], "0")
        self.assertEqual(samples['sluice_gateway_pool_streams{pool="here"}'], "0")
        self.assertEqual(samples['sluice_gateway_pool_streams_max{pool="here"}'], "64")
        remaining = int(samples['sluice_gateway_pool_tokens_remaining{pool="here"}'])
        self.assertTrue(0 < remaining <= 10_000_000, remaining)
        for gauge in ("running", "streaming", "waiting"):
            self.assertEqual(samples[f"sluice_gateway_requests_{gauge}"], "0")

    def test_prompts_and_secrets_are_nowhere(self):
        self.gateway.admin("GET", "keys")
        admin_key = self.gateway.admin_key
        log = pathlib.Path(self.folder.name, "access")
        for path in (log, self.gateway.log_path):
            text = path.read_text()
            for hidden in (PROMPT, SECRET, admin_key):
                self.assertNotIn(hidden, text)
        for shown in (self.metrics(), json.dumps(self.gateway.admin("GET", "snapshot"))):
            for hidden in (PROMPT, SECRET, admin_key):
                self.assertNotIn(hidden, shown)


if __name__ == "__main__":
    unittest.main()
