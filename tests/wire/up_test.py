"""`sluice up`: what it prints, who needs a key, what it keeps, and what it survives."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import tempfile
import time
import unittest
import urllib.request

import openai

from http_exchange import DEADLINE_S, exchange, post_json
from running_server import SLOWDOWN, RunningServer, binary, model

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Count to a hundred."}]
NAME = pathlib.Path(model()).stem
QUESTION = {"model": NAME, "messages": MESSAGES, "max_tokens": 2}
SMALL = ("--kv-budget", "256MiB")


def get(server, path, *headers):
    lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]
    return exchange(server.port, "\r\n".join(lines).encode())


def ask(server, *headers, **fields):
    """The status of a small request."""
    return exchange(server.port, post_json(CHAT, QUESTION | fields, *headers))[0]


def bearer(key: str) -> str:
    return f"Authorization: Bearer {key}"


def client_of(server, **options):
    return openai.OpenAI(
        base_url=server.url + "/v1", **({"api_key": "none", "max_retries": 0} | options)
    )


def start(server, tokens: int, stream: bool):
    return client_of(server).chat.completions.create(
        model=NAME, messages=MESSAGES, max_tokens=tokens, temperature=0, stream=stream,
        extra_body={"ignore_eos": True},
    )  # fmt: skip


def text_of(events) -> str:
    return "".join(event.choices[0].delta.content or "" for event in events if event.choices)


def engine_of(server) -> int:
    pid = server.process.pid
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + DEADLINE_S
    while not (found := children.read_text().split()):
        assert time.monotonic() < deadline
    return int(found[0])


def is_running(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def sockets_of(pid: int) -> set[str]:
    found = set()
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(link))
        except FileNotFoundError:
            pass  # closed meanwhile
    return {name for name in found if name.startswith("socket:")}


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what


def sluice(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [binary(), *words], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


class Starts(unittest.TestCase):
    def check_examples(self, server):
        """What it prints works when it is pasted."""
        snippet = server.printed[server.printed.index("from openai") :]
        said = []
        exec(compile(snippet, "snippet", "exec"), {"print": lambda text, **_: said.append(text)})
        self.assertTrue("".join(said))
        curl = re.search(r"^curl .*\\\n.*$", server.printed, re.MULTILINE).group(0)
        answer = subprocess.run(
            ["bash", "-c", curl], capture_output=True, check=True, timeout=DEADLINE_S
        )
        self.assertTrue(json.loads(answer.stdout)["choices"][0]["message"]["content"])

    def test_the_first_and_the_next(self):
        with tempfile.TemporaryDirectory() as folder:
            with RunningServer(*SMALL, verb="up", folder=folder) as server:
                self.check_examples(server)
                key = re.search(r"shown this once: (sk-sluice-\w+)", server.printed).group(1)
                path = pathlib.Path(folder, "api_key")
                self.assertEqual(path.read_text().strip(), key)
                for name in ("api_key", "engine_key", "admin.json", "hash_key"):
                    mode = stat.S_IMODE(os.stat(pathlib.Path(folder, name)).st_mode)
                    self.assertEqual(mode, 0o600, name)
                self.assertEqual(ask(server, bearer(key)), 200)
                self.assertEqual(server.stop(), 0)
            with RunningServer(*SMALL, verb="up", folder=folder) as server:
                self.assertNotIn("shown this once", server.printed)
                self.assertNotIn(key, server.printed)
                self.check_examples(server)
                self.assertEqual(ask(server, bearer(key)), 200)
                path.unlink()
                self.assertEqual(server.stop(), 0)
            with RunningServer(*SMALL, verb="up", folder=folder) as server:
                self.assertIn("shown this once", server.printed)  # the file was lost
                self.assertEqual(ask(server, bearer(key)), 200)
                self.assertEqual(server.stop(), 0)
            verified = sluice("usage", "verify", "--data-folder", folder)
            self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)
            self.assertIn("events 7,", verified.stdout)

    def test_its_url_is_the_only_one_for_clients(self):
        with RunningServer(*SMALL, verb="up") as server:
            urls = set(re.findall(r"https?://[\w.:]+", server.log() + server.printed))
            self.assertEqual(urls, {server.url, server.admin()["url"]})
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.log().count("draining"), 1, server.log())

    def test_only_one_has_a_folder(self):
        with RunningServer(*SMALL, verb="up") as server:
            second = sluice("up", model(), "--port", "0", "--data-folder", str(server.folder))
            self.assertEqual(second.returncode, 1)
            self.assertIn("another gateway works in the data folder", second.stderr)
            engine = engine_of(server)
            os.kill(engine, signal.SIGKILL)  # it has not spoilt what the first one keeps there
            self.assertEqual(ask(server), 200)

    def test_a_model_that_is_none(self):
        with tempfile.TemporaryDirectory() as folder:
            for arguments, message in (
                (["/dev/null"], "'/dev/null'"),
                ([f"{folder}/none.gguf"], "No such file"),
                ([folder], "config.json"),
                ([model(), "--kv-budget", "lots"], "'lots' is no size"),
            ):
                done = sluice("up", *arguments, "--port", "0", "--data-folder", f"{folder}/data")
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stderr, r"\Asluice up: ")  # and no log before
                self.assertIn(message, done.stderr)
            self.assertFalse(pathlib.Path(folder, "data").exists())

    def test_sluice_keys_and_usage_find_it(self):
        with tempfile.TemporaryDirectory() as home:
            os.environ["XDG_DATA_HOME"] = home
            self.addCleanup(os.environ.pop, "XDG_DATA_HOME")
            with RunningServer(*SMALL, verb="up", folder=f"{home}/sluice") as server:
                made = sluice("keys", "create", "--project", "default", "--id", "key_new")
                self.assertEqual(made.returncode, 0, made.stderr)
                self.assertEqual(ask(server, bearer(made.stdout.strip())), 200)
                self.assertEqual(server.stop(), 0)
            self.assertIn("key_new", sluice("usage").stdout)


class Doors(unittest.TestCase):
    def test_who_needs_a_key(self):
        with tempfile.TemporaryDirectory() as folder:
            with RunningServer(*SMALL, verb="up", folder=folder) as server:
                self.assertIn("no key", server.printed)
                self.assertEqual(ask(server), 200)
                self.assertEqual(ask(server, bearer("none")), 200)
                self.assertEqual(ask(server, bearer("sk-sluice-mistyped")), 401)
                self.assertEqual(ask(server, "Origin: http://elsewhere.example"), 401)
                self.assertEqual(ask(server, "Origin: http://localhost:3000"), 200)
                revoked = sluice("keys", "--data-folder", folder, "revoke", "key_guest")
                self.assertEqual(revoked.returncode, 0, revoked.stderr)
                self.assertEqual(ask(server), 401)
                self.assertEqual(server.stop(), 0)
            with RunningServer(*SMALL, verb="up", folder=folder) as server:
                self.assertEqual(ask(server), 401)
                self.assertNotIn("no key", server.printed)
                Starts.check_examples(self, server)

    def test_own_keys(self):
        keys = ("--api-key", "first", "--api-key", "second")
        with RunningServer(*SMALL, *keys, verb="up") as server:
            for key in ("first", "second"):
                self.assertEqual(ask(server, bearer(key)), 200)
            for wrong in ((), (bearer("none"),), (bearer("First"),)):
                self.assertEqual(ask(server, *wrong), 401)
            Starts.check_examples(self, server)

    def test_a_stranger_needs_a_key(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # nothing is sent
            except OSError:
                self.skipTest("this machine has no address but its own")
            address = probe.getsockname()[0]
        with RunningServer(*SMALL, verb="up", host="0.0.0.0") as server:
            Starts.check_examples(self, server)
            for host, expected in (("127.0.0.1", 200), (address, 401)):
                connection = http.client.HTTPConnection(host, server.port, timeout=DEADLINE_S)
                connection.request("POST", CHAT, json.dumps(QUESTION))
                self.assertEqual(connection.getresponse().status, expected, host)
                connection.close()

    def test_admin_is_for_this_machine_alone(self):
        with RunningServer(*SMALL, verb="up", host="0.0.0.0") as server:
            admin = server.admin()
            request = urllib.request.Request(
                admin["url"] + "/admin/v1/keys",
                headers={"Authorization": "Bearer " + admin["key"]},
            )
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                self.assertEqual(answer.status, 200)
            port = int(admin["url"].rsplit(":", 1)[1])
            socket.create_connection(("127.0.0.2", server.port), DEADLINE_S).close()
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", port), DEADLINE_S)
            for path in ("/admin/v1/keys", "/metrics", "/internal/events", "/tokenize"):
                self.assertEqual(get(server, path, bearer(admin["key"]))[0], 404, path)

    def test_the_engine_is_for_the_gateway_alone(self):
        with RunningServer(*SMALL, verb="up") as server:
            port = int(re.search(r"is ready after .* \(internal: port (\d+)\)", server.log())[1])
            self.assertEqual(exchange(port, post_json(CHAT, QUESTION))[0], 401)


class Answers(unittest.TestCase):
    def test_nothing_of_the_inside_shows(self):
        with RunningServer(*SMALL, verb="up") as server:
            client = client_of(server)
            wait_until(
                lambda: getattr(client.models.list().data[0], "max_model_len", 0) > 0,
                "the engine says its context length",
            )
            status, headers, body = exchange(server.port, post_json(CHAT, QUESTION))
            self.assertEqual((status, headers["x-sluice-decision"]), (200, "local"))
            self.assertNotIn(b"token_ids", body)
            self.assertNotIn("token_ids", str([str(event) for event in start(server, 4, True)]))

    def test_names(self):
        names = ("a/b", "c")
        options = [word for name in names for word in ("--served-model-name", name)]
        with RunningServer(*SMALL, *options, verb="up") as server:
            self.assertEqual([m.id for m in client_of(server).models.list()], list(names))
            for name in names:
                answer = exchange(server.port, post_json(CHAT, QUESTION | {"model": name}))
                self.assertEqual(json.loads(answer[2])["model"], name)
            self.assertEqual(ask(server, model="d"), 404)
            self.assertEqual(ask(server, model="default"), 200)
            unnamed = {name: QUESTION[name] for name in ("messages", "max_tokens")}
            answer = exchange(server.port, post_json(CHAT, unnamed))
            self.assertEqual(json.loads(answer[2])["model"], "a/b")

    def test_a_head_that_up_takes_is_not_too_long_for_its_engine(self):
        with RunningServer(*SMALL, "--header-max", "1KiB", verb="up") as server:
            rest = 1024 - len(post_json(CHAT, QUESTION, "A: ").split(b"\r\n\r\n")[0]) - 4
            self.assertEqual(ask(server, "A: " + "a" * rest), 200)
            self.assertEqual(ask(server, "A: " + "a" * (rest + 1)), 431)


class Meter(unittest.TestCase):
    def test_usage_knows_of_an_answer_as_soon_as_it_has_ended(self):
        with tempfile.TemporaryDirectory() as folder:
            with RunningServer(*SMALL, verb="up", folder=folder) as server:
                for count in range(1, 6):
                    self.assertEqual(ask(server), 200)
                    told = sluice("usage", "--data-folder", folder, "-o", "json")
                    self.assertEqual((told.stderr, told.returncode), ("", 0))
                    self.assertEqual(json.loads(told.stdout)[0]["requests"], count)

    def test_the_prompt_of_an_answer_that_is_left_has_as_many_tokens_as_the_engine_says(self):
        messages = [{"role": "user", "content": "Why is the sky blue?"}]
        question = {"model": NAME, "messages": messages, "max_tokens": 2}
        with tempfile.TemporaryDirectory() as folder:
            with RunningServer(*SMALL, verb="up", folder=folder) as server:
                answer = json.loads(exchange(server.port, post_json(CHAT, question))[2])
                left = question | {"max_tokens": 4000, "stream": True, "ignore_eos": True}
                client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
                client.request("POST", CHAT, json.dumps(left))
                stream = client.getresponse()
                stream.readline()
                request = stream.headers["x-request-id"]
                stream.close()
                client.close()
                show = ("usage", "show", request, "--data-folder", folder, "-o", "json")
                wait_until(lambda: sluice(*show).returncode == 0, "the event")
                event = json.loads(sluice(*show).stdout)
        self.assertEqual(event["outcome"], "client_abort")
        prompt = sum(line["quantity"] for line in event["lines"] if "prompt" in line["unit"])
        self.assertEqual(prompt, answer["usage"]["prompt_tokens"])


class Chat(unittest.TestCase):
    def chat(self, server, *words: str, text: str | None = None) -> subprocess.CompletedProcess:
        command = [binary(), "chat", "--url", server.url, "--max-tokens", "8", *words]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )

    def test_chat_talks_to_it(self):
        with RunningServer(*SMALL, verb="up") as server:
            words = ("--temperature", "0", "-p", MESSAGES[0]["content"])
            one = self.chat(server, *words)
            self.assertEqual(one.returncode, 0, one.stderr)
            local = sluice("chat", model(), *SMALL, "--max-tokens", "8", *words)
            self.assertEqual(one.stdout, local.stdout)
            two = self.chat(server, text="My name is Ada.\nSay it.\n")
            self.assertEqual((two.returncode, two.stderr), (0, ""))
            self.assertEqual(len([line for line in two.stdout.split("\n") if line]) > 1, True)
            wrong = self.chat(server, "no-such-model", "-p", "x")
            self.assertEqual(wrong.returncode, 1)
            self.assertIn("no-such-model", wrong.stderr)
            self.assertEqual(self.chat(server, "--api-key", "sk-sluice-x", "-p", "x").returncode, 1)
        gone = self.chat(server, "-p", "x")
        self.assertEqual(gone.returncode, 1)
        self.assertIn("refused", gone.stderr)


class Survives(unittest.TestCase):
    def test_the_death_of_its_engine(self):
        with RunningServer(*SMALL, verb="up") as server:
            undisturbed = text_of(start(server, 60, True))
            engine = engine_of(server)
            events = iter(start(server, 60, True))
            first = [next(events) for _ in range(5)]
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                whole = pool.submit(start, server, 60, False)
                os.kill(engine, signal.SIGKILL)
                killed_s = time.monotonic()
                late = text_of(start(server, 3, True))
                self.assertLess(time.monotonic() - killed_s, 3 * SLOWDOWN)
                self.assertTrue(undisturbed.startswith(late))
                self.assertEqual(text_of(first + list(events)), undisturbed)
                self.assertEqual(whole.result().choices[0].message.content, undisturbed)
            self.assertNotEqual(engine_of(server), engine)

    def test_a_new_engine_has_no_socket_of_the_gateway(self):
        with RunningServer(*SMALL, verb="up") as server:
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
            self.addCleanup(client.close)
            client.request("GET", "/livez")
            client.getresponse().read()
            old = engine_of(server)
            os.kill(old, signal.SIGKILL)
            wait_until(lambda: engine_of(server) != old, "a new engine")
            self.assertEqual(ask(server), 200)
            engine = engine_of(server)
            self.assertGreater(len(sockets_of(engine)), 0)
            self.assertEqual(sockets_of(server.process.pid) & sockets_of(engine), set())

    def test_who_may_not_wait_gets_503(self):
        for option in (("--held-max", "0"), ("--hold-timeout", "0.02")):
            with self.subTest(option), RunningServer(*SMALL, *option, verb="up") as server:
                os.kill(engine_of(server), signal.SIGKILL)
                answers = []

                def refused():
                    answers.append(exchange(server.port, post_json(CHAT, QUESTION)))
                    return answers[-1][0] == 503

                wait_until(refused, "a request that finds no engine")
                _, headers, body = answers[-1]
                self.assertGreaterEqual(int(headers["retry-after"]), 1)
                self.assertEqual(json.loads(body)["error"]["code"], "overloaded")
                wait_until(lambda: ask(server) == 200, "the next engine")

    def test_it_says_whether_it_lives_and_whether_it_can_serve(self):
        with RunningServer(*SMALL, verb="up") as server:
            self.assertEqual(get(server, "/health")[0], 200)
            os.kill(engine_of(server), signal.SIGKILL)
            wait_until(lambda: get(server, "/health")[0] == 503, "it has no engine")
            self.assertEqual(get(server, "/livez")[0], 200)
            wait_until(lambda: get(server, "/health")[0] == 200, "the next engine")


class Ends(unittest.TestCase):
    def test_running_requests_are_answered_first(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number), RunningServer(*SMALL, verb="up") as server:
                engine = engine_of(server)
                events = iter(start(server, 40, True))
                next(events)
                server.process.send_signal(number)
                self.assertEqual([e.choices[0].finish_reason for e in events][-1], "length")
                self.assertEqual(server.process.wait(DEADLINE_S), 0)
                self.assertFalse(is_running(engine))

    def test_what_runs_after_the_limit_ends_with_an_error(self):
        with RunningServer(*SMALL, "--drain-timeout", "0.3", verb="up") as server:
            events = iter(start(server, 7000, True))
            next(events)
            server.process.send_signal(signal.SIGTERM)
            with self.assertRaisesRegex(openai.APIError, "shutting down and ended"):
                list(events)
            self.assertEqual(server.process.wait(DEADLINE_S), 0)

    def test_the_engine_dies_with_it(self):
        server = RunningServer(*SMALL, verb="up")
        engine = engine_of(server)
        server.stop(signal.SIGKILL)
        server.process.stdout.close()
        wait_until(lambda: not is_running(engine), "the engine ends")


if __name__ == "__main__":
    unittest.main(verbosity=2)
