"""Real engines, the gateway before them, and streamed chat requests with what came of each: for a
wire test, and for the runs in bench/gateway."""

import concurrent.futures
import dataclasses
import http.client
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request

from running_gateway import RunningGateway
from running_server import RunningServer, binary, model

ENGINE_KEY = "a key of sixteen bytes and more"
CLIENT_KEY = "sk-fleet-0123456789abcdefghijklmnop"
MODEL = "smollm2"
TIMEOUT_S = 600
WORDS = (
    "water light river stone early paper music green house letter number little system garden "
    "winter answer simple market window silver travel second spring people"
).split()


@dataclasses.dataclass
class Ask:
    messages: list[dict]
    max_tokens: int
    at_s: float = 0  # from the start of the load; before that it is not sent


@dataclasses.dataclass
class Answer:
    ask: Ask
    text: str = ""
    failure: str = ""
    replica: str = ""
    decision: str = ""
    pool: str = ""
    sent_s: float = 0  # times from the start of the load
    first_s: float = 0  # 0: nothing came
    end_s: float = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    @property
    def ttft_s(self) -> float:
        return self.first_s - self.sent_s


def words(count: int, rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(count))


def chat(prefix: str, question: str) -> list[dict]:
    return [{"role": "system", "content": prefix}, {"role": "user", "content": question}]


def tokens_of(texts: list[str]) -> list[int]:
    """How many tokens each has."""
    done = subprocess.run(
        [binary(), "tokenize", model(), "--batch", "-o", "json"], check=True, text=True,
        input="".join(json.dumps(text) + "\n" for text in texts), stdout=subprocess.PIPE,
    )  # fmt: skip
    return [len(json.loads(line)) for line in done.stdout.splitlines()]


def page_bytes() -> int:
    """Of the KV of 32 tokens, as an engine says at its start."""
    with engine("--kv-budget", "64MiB") as one:
        return int(float(re.search(r"pages of ([\d.]+) KiB", one.log()).group(1)) * 1024)


def engine(*options: str) -> RunningServer:
    return RunningServer("--served-model-name", MODEL, "--threads", "1", *options)


@dataclasses.dataclass
class Pool:
    engines: list[tuple[str, ...]]  # their options
    name: str = "here"
    entries: str = 'place = "local"'
    speed: str = ""  # entries of replicas.speed


def processor_s(engines: list[RunningServer]) -> float:
    """What they have used of their cores; unlike time, others on the machine hardly change it."""
    ticks = 0
    for one in engines:
        fields = pathlib.Path(f"/proc/{one.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Fleet:
    """Engines with the gateway's key, and the gateway, from the entering to the leaving.
    `model_more`: further entries of the model, `more`: further sections of the configuration."""

    def __init__(self, pools: list[Pool], model_more: str = "", more: str = ""):
        self.pools, self.model_more, self.more = pools, model_more, more

    def __enter__(self) -> "Fleet":
        self.folder = tempfile.TemporaryDirectory()
        for name, secret in (("engine_key", ENGINE_KEY), ("client_key", CLIENT_KEY)):
            pathlib.Path(self.folder.name, name).write_text(secret + "\n")
        key_file = str(pathlib.Path(self.folder.name, "engine_key"))
        self.engines = []
        replicas = ""
        for pool in self.pools:
            for options in pool.engines:
                one = engine("--gateway-key-file", key_file, *options)
                replicas += (
                    f'[[replicas]]\nid = "engine-{len(self.engines)}"\npool = "{pool.name}"\n'
                    f'model = "{MODEL}"\nkind = "sluice"\nurl = "{one.url}/v1"\n'
                    f'secret = "engine_key"\n[replicas.speed]\n{pool.speed}\n'
                )
                self.engines.append(one)
        self.gateway = RunningGateway(self._config() + replicas, self.folder.name)
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.gateway.__exit__(kind, error, trace)
        for one in self.engines:
            one.stop(signal.SIGKILL)
            one.process.stdout.close()
            one.log_file.close()
        self.folder.cleanup()

    def kill(self, at: int) -> None:
        self.engines[at].process.kill()

    def drain(self, at: int) -> None:
        self.engines[at].process.terminate()

    def _config(self) -> str:
        pools = "".join(f'[[pools]]\nid = "{pool.name}"\n{pool.entries}\n' for pool in self.pools)
        return (
            '[secrets]\nengine_key = { file = "{folder}/engine_key" }\n'
            'client_key = { file = "{folder}/client_key" }\n'
            '[[tenants]]\nid = "t"\n[[projects]]\nid = "p"\ntenant = "t"\n'
            '[[keys]]\nid = "key_load"\nproject = "p"\nsecret = "client_key"\n'
            f'[[models]]\nid = "{MODEL}"\nvocabulary_file = "{model()}"\n{self.model_more}\n'
            f"{pools}{self.more}\n"
        )

    def metric(self, name: str) -> float:
        """The sum of a metric of the gateway over its labels."""
        with urllib.request.urlopen(self.gateway.admin_url + "/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if re.match(name + r"[{ ]", line))  # fmt: skip


def send(url: str, ask: Ask, start_s: float, on_first) -> Answer:
    """One streamed request with greedy sampling that goes to its max_tokens. Calls on_first with
    the answer when its first text is here."""
    answer = Answer(ask)
    host = url.split("//")[1]
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
    body = {"model": MODEL, "messages": ask.messages, "max_tokens": ask.max_tokens,
            "temperature": 0, "ignore_eos": True, "stream": True,
            "stream_options": {"include_usage": True}}  # fmt: skip
    answer.sent_s = time.monotonic() - start_s
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body),
                           {"Authorization": f"Bearer {CLIENT_KEY}"})  # fmt: skip
        read_stream(connection.getresponse(), answer, start_s, on_first)
    except (OSError, http.client.HTTPException) as error:
        answer.failure = answer.failure or repr(error)
    finally:
        connection.close()
    answer.end_s = time.monotonic() - start_s
    return answer


def read_stream(response: http.client.HTTPResponse, answer: Answer, start_s: float,
                on_first) -> None:  # fmt: skip
    answer.replica = response.headers.get("x-sluice-replica", "")
    answer.decision = response.headers.get("x-sluice-decision", "")
    answer.pool = response.headers.get("x-sluice-pool", "")
    if response.status != 200:
        answer.failure = f"status {response.status}: {response.read().decode()[:200]}"
        return
    answer.failure = "the stream ended without [DONE]"
    for line in response:
        if line.startswith(b"data: [DONE]"):
            answer.failure = ""
        elif line.startswith(b"data: {"):
            began = answer.first_s > 0
            take(json.loads(line[6:]), answer, time.monotonic() - start_s)
            if not began and answer.first_s > 0:
                on_first(answer)


def take(event: dict, answer: Answer, now_s: float) -> None:
    if "error" in event:
        answer.failure = json.dumps(event["error"])
    for choice in event.get("choices", []):
        if content := choice["delta"].get("content"):
            answer.text += content
            answer.first_s = answer.first_s or now_s
    if usage := event.get("usage"):
        answer.prompt_tokens = usage["prompt_tokens"]
        answer.output_tokens = usage["completion_tokens"]
        details = usage.get("prompt_tokens_details") or {}
        answer.cached_tokens = details.get("cached_tokens", 0)


def run_load(urls: list[str], asks: list[Ask], streams: int,
             on_first=lambda answer: None) -> list[Answer]:  # fmt: skip
    """All of them, `streams` at once at most, in their order; the next one to the next URL."""
    start_s = time.monotonic()
    never = threading.Event()

    def work(at: int) -> Answer:
        never.wait(max(0, start_s + asks[at].at_s - time.monotonic()))
        return send(urls[at % len(urls)], asks[at], start_s, on_first)

    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        return list(pool.map(work, range(len(asks))))


def hit_rate(answers: list[Answer]) -> float:
    return sum(a.cached_tokens for a in answers) / sum(a.prompt_tokens for a in answers)


def output_tok_s(answers: list[Answer]) -> float:
    return sum(a.output_tokens for a in answers) / max(a.end_s for a in answers)
