"""`sluice bench serve` at size 1 against `sluice serve`."""

import http.server
import json
import subprocess
import threading
import unittest

from running_server import RunningServer, binary

DEADLINE_S = 60


def bench(*arguments):
    return subprocess.run([binary(), "bench", "serve", *arguments], capture_output=True, text=True,
                          timeout=DEADLINE_S)  # fmt: skip


class BenchServe(unittest.TestCase):
    def test_rows(self):
        with RunningServer("--kv-budget", "128MiB", "--api-key", "k") as server:
            common = ["--url", server.url, "-c", "1", "2", "-r", "3", "-p", "20", "-n", "4"]
            done = bench(*common, "--api-key", "k", "-o", "json")
            self.assertEqual(done.returncode, 0, done.stderr)
            rows = json.loads(done.stdout)
            self.assertEqual([r["concurrency"] for r in rows], [1, 2])
            for row in rows:
                self.assertEqual((row["completed"], row["failed"]), (3, 0))
                self.assertGreater(row["output_tok_s"], 0)
                self.assertGreater(row["ttft_p50_ms"], 0)
                self.assertGreater(row["tpot_p50_ms"], 0)
            refused = bench(*common)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("401", refused.stderr)

    def test_odd_answers_are_failures(self):
        """JSON of other types than the API's, from a server that is not ours."""
        events = [b"[1]", b'{"choices":5}', b'{"choices":{"a":1}}', b'{"choices":[5]}',
                  b'{"choices":[{"delta":[1]}]}', b'{"usage":{"prompt_tokens":"x"}}']  # fmt: skip

        class Odd(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer("application/json", b'{"data":{"id":5}}')

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self.answer("text/event-stream", b"".join(b"data: %s\n\n" % e for e in events))

            def answer(self, content_type, body):
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_port}"
            nameless = bench("--url", url)
            self.assertEqual(nameless.returncode, 1)
            self.assertIn("/models", nameless.stderr)
            done = bench("--url", url, "--model", "m", "-c", "1", "-r", "2")
            self.assertEqual(done.returncode, 1)
            self.assertIn("no text came back", done.stderr)
            server.shutdown()

    def test_nobody_listens(self):
        done = bench("--url", "http://127.0.0.1:1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("127.0.0.1:1", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
