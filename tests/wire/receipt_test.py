"""Receipts of a running gateway, verified by the commands of docs/receipts.md as they stand."""

import http.server
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import unittest
import urllib.request

from running_gateway import ONE_KEY, REQUEST_TIMEOUT_S, RunningGateway

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "receipts.md"
SECRET = "sk-client-0123456789"
CONFIG = """
[[pools]]
id = "here"
place = "local"
[[models]]
id = "m"
max_tokens_default = 16
[[replicas]]
id = "fixed"
pool = "here"
model = "m"
url = "http://127.0.0.1:{port}/v1"
[[prices]]
version = 1
side = "sale"
input_per_million = "1"
output_per_million = "2"
"""
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


class FixedAnswer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        streams = json.loads(self.rfile.read(int(self.headers["Content-Length"]))).get("stream")
        said = {"content": "yes"}
        choice = {"index": 0, "finish_reason": "stop", "delta" if streams else "message": said}
        answer = json.dumps({"id": "c", "created": 1, "choices": [choice], "usage": USAGE})
        body = f"data: {answer}\n\ndata: [DONE]\n\n" if streams else answer
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if streams else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Receipts(unittest.TestCase):
    def setUp(self):
        engine = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FixedAnswer)
        threading.Thread(target=engine.serve_forever, daemon=True).start()
        self.addCleanup(engine.server_close)
        self.addCleanup(engine.shutdown)
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        (self.folder / "client").write_text(SECRET)
        self.config = ONE_KEY + CONFIG.format(port=engine.server_port)
        self.public_key, self.verify, self.key_id = re.findall(
            r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
        )

    def run_command(self, command: str) -> subprocess.CompletedProcess:
        return subprocess.run(["sh", "-ec", command], cwd=self.folder, capture_output=True,
                              text=True, timeout=REQUEST_TIMEOUT_S)  # fmt: skip

    def receipt_of(self, gateway: RunningGateway, stream: bool) -> str:
        body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "x"}]}
        request = urllib.request.Request(
            gateway.url + "/v1/chat/completions", data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {SECRET}", "x-sluice-receipt": "1",
                     "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
            text = answer.read().decode()
            if not stream:
                return answer.headers["x-sluice-receipt"]
        self.assertTrue(text.endswith("\n\ndata: [DONE]\n\n"), text)
        return re.search(r"^: x-sluice-receipt: (\S+)$", text, re.MULTILINE).group(1)

    def test_the_published_commands_verify_what_a_gateway_sends(self):
        with RunningGateway(self.config, str(self.folder)) as gateway:
            receipts = [self.receipt_of(gateway, stream) for stream in (False, True)]
        shutil.copy(self.folder / "data" / "receipt_key.pem", self.folder)
        self.assertEqual(self.run_command(self.public_key).returncode, 0)
        key_id = self.run_command(self.key_id).stdout.strip()
        for receipt in receipts:
            self.assertEqual(receipt.split(".")[0], key_id)
            (self.folder / "header.txt").write_text(receipt + "\n")
            verified = self.run_command(self.verify)
            self.assertEqual(verified.returncode, 0, verified.stderr)
            self.assertIn("Signature Verified Successfully", verified.stdout)
            text = (self.folder / "receipt.txt").read_text()
            self.assertTrue(text.endswith("total_nano: 15000\n"), text)
        (self.folder / "header.txt").write_text(
            ".".join([key_id, receipts[0].split(".")[1], receipts[1].split(".")[2]])
        )
        self.assertNotEqual(self.run_command(self.verify).returncode, 0, "of another request")


if __name__ == "__main__":
    unittest.main()
