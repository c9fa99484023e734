"""Money through the whole gateway while everything dies: clients that leave, engines that fail in
every way (mock_engine.py) and are killed, a gateway that is killed under load and started again.
Afterwards the books are compared (money_books.py) with what the clients, the engines and the
administrator saw. tests/wire/money_test.py runs a small storm; a large one:

    SLUICE_BINARY=build/release/bin/sluice tools/python tests/wire/money_storm.py \\
        --requests 100000 --gateway-deaths 40 --engine-deaths 60 --store postgresql --seed 1
"""

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.error

from money_books import Books, differences
from postgres_server import PostgresServer
from running_gateway import RunningGateway
from running_server import STOP_TIMEOUT_S, binary

ENGINE_SECRET = "secret-between-gateway-and-engines"
HERE = pathlib.Path(__file__).parent
PATIENCE_S = 60  # of a client
CATCH_UP_S = 120  # of the store, at the end
MOCKS = ("own-1", "own-2", "remote-1")

# Money in nano-units a million tokens, odd, so that each line is rounded.
CONFIG = """
[secrets]
engine = { file = "{folder}/engine-secret" }
rich = { file = "{folder}/rich" }
poor = { file = "{folder}/poor" }
monthly = { file = "{folder}/monthly" }
[[tenants]]
id = "rich"
prepaid = true
[[tenants]]
id = "poor"
prepaid = true
[[tenants]]
id = "monthly"
[tenants.limits]
money_per_month = "1000"
[[projects]]
id = "rich-web"
tenant = "rich"
[[projects]]
id = "poor-web"
tenant = "poor"
[[projects]]
id = "monthly-web"
tenant = "monthly"
[[keys]]
id = "key_rich"
project = "rich-web"
secret = "rich"
[[keys]]
id = "key_poor"
project = "poor-web"
secret = "poor"
[[keys]]
id = "key_monthly"
project = "monthly-web"
secret = "monthly"
[keys.limits]
concurrent_streams = 12
[[pools]]
id = "own"
place = "local"
[[pools]]
id = "rented"
place = "remote"
owner = "provider-inc"
data_classes = ["public", "internal"]
[[models]]
id = "m"
context_tokens = 4096
max_tokens_default = 16
[[prices]]
version = 1
side = "sale"
input_per_million = "0.012345678"
cached_input_per_million = "0.002345679"
output_per_million = "0.043210987"
compute_per_second = "0.000000111"
[[prices]]
version = 2
side = "sale"
pool = "rented"
input_per_million = "0.020000001"
output_per_million = "0.070000009"
[[prices]]
version = 3
side = "cost"
pool = "rented"
input_per_million = "0.009999999"
output_per_million = "0.033333333"
"""
REPLICA = """
[[replicas]]
id = "{id}"
pool = "{pool}"
model = "{model}"
kind = "{kind}"
url = "{url}"
[replicas.speed]
prefill_tokens_per_s = 50000
decode_tokens_per_s = 5000
decode_tokens_per_s_max = 20000
streams_max = 64
"""
SECRETS_OF_ENGINES = 'secret = "engine"\n'
TENANTS = ("rich", "poor", "monthly")


@dataclasses.dataclass(frozen=True)
class Options:
    requests: int = 2000
    gateway_deaths: int = 4
    engine_deaths: int = 6
    clients: int = 48
    seed: int = 1
    store: str = "sqlite"
    model: str | None = None  # of one real engine


@dataclasses.dataclass
class Seen:
    """One request as its client saw it."""

    number: int
    tenant: str
    sent: bool = False  # its last byte had been written
    request_id: str | None = None
    status: int = 0
    end: str = ""  # whole, error event, cut, left
    usage: dict | None = None
    cost_nano: int | None = None
    events: int = 0  # of its stream, with text
    refused_unknown: bool = False  # its key was wrong: nobody's money


class EngineProcess:
    """One engine on a port that it keeps when it dies."""

    def __init__(self, command: list[str], environment: dict | None = None):
        self.command = command
        self.environment = environment
        self.port = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [*self.command, "--port", str(self.port)], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=self.environment,
        )  # fmt: skip
        for line in self.process.stdout:
            if found := re.search(r"listening on http://[\w.]+:(\d+)", line):
                self.port = int(found.group(1))
                return
        raise RuntimeError(f"{self.command} ended with {self.process.wait()}")

    def kill(self):
        self.process.kill()
        self.process.stdout.close()
        self.process.wait(STOP_TIMEOUT_S)


class Storm:
    def __init__(self, options: Options, folder: str, store_line: str):
        self.options = options
        self.folder = pathlib.Path(folder)
        self.chance = random.Random(options.seed)
        self.seen: list[Seen] = []
        self.top_ups: dict[str, tuple[str, int]] = {}  # by id: tenant, nano-units
        self.up = asyncio.Event()
        self.deaths = 0
        for name in TENANTS:
            (self.folder / name).write_text(f"sk-storm-{name}\n")
        (self.folder / "engine-secret").write_text(ENGINE_SECRET + "\n")
        self.engines = {name: self.new_mock(i, name) for i, name in enumerate(MOCKS)}
        if options.model:
            self.engines["real"] = EngineProcess(
                [binary(), "serve", options.model, "--host", "127.0.0.1", "-t", "1", "--kv-budget",
                 "64MiB", "--gateway-key-file", str(self.folder / "engine-secret")]
            )  # fmt: skip
        self.store_line = store_line
        self.gateway = self.new_gateway()
        self.up.set()

    def new_mock(self, index: int, name: str) -> EngineProcess:
        key = [] if name.startswith("remote") else ["--key", ENGINE_SECRET]
        return EngineProcess(
            [sys.executable, str(HERE / "mock_engine.py"), "--log", str(self.engine_log(name)),
             "--seed", str(self.options.seed * 1000 + index), *key]
        )  # fmt: skip

    def engine_log(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.requests"

    def new_gateway(self) -> RunningGateway:
        config = CONFIG
        for name, engine in self.engines.items():
            is_own = not name.startswith("remote")
            replica = {"id": name, "pool": "own" if is_own else "rented",
                       "model": "real" if name == "real" else "m",
                       "kind": "sluice" if is_own else "openai",
                       "url": f"http://127.0.0.1:{engine.port}/v1"}  # fmt: skip
            text = REPLICA.format(**replica)
            config += text.replace("[replicas.speed]", SECRETS_OF_ENGINES + "[replicas.speed]")
        if "real" in self.engines:
            config += '[[models]]\nid = "real"\ncontext_tokens = 2048\nmax_tokens_default = 4\n'
        lines = (f'threads = 2\nresponse_timeout_s = 5\nrequest_timeout_s = 60\n'
                 f'access_log_file = "{self.folder}/access"\n{self.store_line}')  # fmt: skip
        return RunningGateway(config, str(self.folder), lines)

    # ---- deaths -------------------------------------------------------------------------------

    async def kill_gateway(self):
        self.up.clear()
        self.gateway.process.kill()
        self.gateway.process.stdout.close()
        self.gateway.process.wait(STOP_TIMEOUT_S)
        self.gateway = await asyncio.to_thread(self.new_gateway)
        self.deaths += 1
        self.up.set()

    async def kill_engine(self):
        engine = self.engines[self.chance.choice(list(self.engines))]
        engine.kill()
        await asyncio.sleep(self.chance.random() * 0.5)
        await asyncio.to_thread(engine.start)

    async def do_harm(self):
        """Kills what is to be killed, spread over the requests."""
        deaths = ["gateway"] * self.options.gateway_deaths + ["engine"] * self.options.engine_deaths
        self.chance.shuffle(deaths)
        every = self.options.requests / (len(deaths) + 1)
        for i, victim in enumerate(deaths):
            while len(self.seen) < (i + 1) * every:
                await asyncio.sleep(0.005)
            await (self.kill_gateway() if victim == "gateway" else self.kill_engine())

    # ---- the administrator --------------------------------------------------------------------

    async def top_up(self, name: str, tenant: str, nano: int):
        """Until the gateway has said that it is done; a repetition changes nothing."""
        body = {"id": name, "amount": f"{nano // 10**9}.{nano % 10**9:09}", "reason": "storm"}
        while True:
            await self.up.wait()
            try:
                status, answer = await asyncio.to_thread(
                    self.gateway.admin, "POST", f"balances/{tenant}/top-ups", body
                )
            except (urllib.error.URLError, ConnectionError, TimeoutError, json.JSONDecodeError):
                await asyncio.sleep(0.02)
                continue
            if status in (200, 201):
                self.top_ups[name] = (tenant, nano)
                return
            if status != 503:
                raise RuntimeError(f"top-up {name}: {status} {answer}")
            await asyncio.sleep(0.02)

    async def pay(self):
        await self.top_up("first-rich", "rich", 10**9)
        count = 0
        while len(self.seen) < self.options.requests:
            count += 1
            nano = self.chance.randrange(1, 300_000)
            await self.top_up(f"small-{count}", "poor", nano)
            if self.top_ups and self.chance.random() < 0.5:  # said once more, maybe lives later
                again = self.chance.choice(list(self.top_ups))
                await self.top_up(again, *self.top_ups[again])
            await asyncio.sleep(0.03)

    # ---- clients ------------------------------------------------------------------------------

    async def run(self):
        payments = asyncio.create_task(self.pay())
        harm = asyncio.create_task(self.do_harm())
        numbers = iter(range(1, self.options.requests + 1))
        clients = [self.client(numbers) for _ in range(self.options.clients)]
        await asyncio.gather(*clients)
        await asyncio.gather(payments, harm)

    async def client(self, numbers):
        for number in numbers:
            await self.up.wait()
            seen = Seen(number, self.chance.choice(TENANTS))
            try:
                await asyncio.wait_for(self.one_request(seen), PATIENCE_S)
            except (ConnectionError, asyncio.IncompleteReadError):
                seen.end = seen.end or "cut"
            except TimeoutError:
                seen.end = "left"
            self.seen.append(seen)

    def request_bytes(self, seen: Seen) -> tuple[bytes, bool]:
        chance = self.chance
        streams = chance.random() < 0.5
        path = chance.choices(["chat/completions", "completions", "embeddings"], [8, 1, 1])[0]
        streams = streams and path == "chat/completions"
        is_real = "real" in self.engines and path != "embeddings" and chance.random() < 0.01
        text = "word " * 100  # its bytes bound the tokens of mock_engine.work_of()
        body: dict = {"model": "real" if is_real else "m"}
        if path == "chat/completions":
            body["messages"] = [{"role": "user", "content": "Hi" if is_real else text}]
        else:
            body["prompt" if path == "completions" else "input"] = text
        if path != "embeddings":
            body["max_tokens"] = 4 if is_real else 16
        if streams:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        secret = f"sk-storm-{seen.tenant}"
        content = json.dumps(body).encode()
        drawn = chance.random()
        if drawn < 0.01:
            content = content[:-1]  # no JSON
        elif drawn < 0.02:
            content = content.replace(b'"m"', b'"unknown"')
        elif drawn < 0.03:
            secret, seen.refused_unknown = "sk-storm-nobody", True
        head = (f"POST /v1/{path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {secret}\r\n"
                f"Connection: close\r\nx-number: {seen.number}\r\nx-sluice-receipt: 1\r\n"
                f"Content-Length: {len(content)}\r\n\r\n")  # fmt: skip
        return head.encode() + content, streams

    async def one_request(self, seen: Seen):
        request, streams = self.request_bytes(seen)
        port = int(self.gateway.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            await writer.drain()
            seen.sent = True
            if self.chance.random() < 0.1:  # leaves before long
                limit_s = self.chance.random() ** 2 * 0.04
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(read_answer(reader, seen, streams), limit_s)
                seen.end = seen.end or "left"
            else:
                await read_answer(reader, seen, streams)
        finally:
            writer.transport.abort()

    # ---- the end ------------------------------------------------------------------------------

    async def settle(self):
        """One more death, so that a sweep ends what is open; then the store takes all."""
        await self.kill_gateway()
        deadline = time.monotonic() + CATCH_UP_S
        while await asyncio.to_thread(self.lag) > 0:
            if time.monotonic() > deadline:
                raise AssertionError(f"the store has not caught up: {self.gateway.log()}")
            await asyncio.sleep(0.05)
        code = self.gateway.stop()
        if code:
            raise AssertionError(f"the gateway ended with {code}: {self.gateway.log()}")
        for engine in self.engines.values():
            engine.kill()

    def lag(self) -> int:
        text = subprocess.run(["curl", "-s", f"{self.gateway.admin_url}/metrics"],
                              capture_output=True, text=True, check=True).stdout  # fmt: skip
        return int(re.search(r"^sluice_gateway_ledger_lag_records (\d+)", text, re.M).group(1))

    def access_log(self) -> list[str]:
        """Ids of the requests that ended, a line each; the last before a death are missing."""
        lines = (self.folder / "access").read_text().splitlines()
        return [found.group(1) for line in lines if (found := re.search(r'"id":"(req_\w+)"', line))]

    def ids_of_engines(self) -> dict[str, int]:
        """The gateway's ids of the requests that reached a mock engine, and their numbers."""
        ids = {}
        for name in MOCKS:
            for line in self.engine_log(name).read_text().splitlines():
                request_id, number, _ = line.split(" ", 2)
                ids[request_id] = int(number)
        return ids


async def read_answer(reader: asyncio.StreamReader, seen: Seen, streams: bool):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.split("\r\n")
    headers = {k.lower(): v.strip() for k, v in (x.split(":", 1) for x in lines if x)}
    seen.status = int(status_line.split()[1])
    seen.request_id = headers.get("x-request-id")
    if "chunked" in headers.get("transfer-encoding", ""):
        return await read_stream(reader, seen)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    seen.end = "whole"
    if seen.status == 200:
        seen.usage = json.loads(body).get("usage")
        seen.cost_nano = nano(headers["x-sluice-cost"])
        check_receipt(headers["x-sluice-receipt"], seen)


async def read_stream(reader: asyncio.StreamReader, seen: Seen):
    text = b""
    receipt = None
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        text += (await reader.readexactly(size + 2))[:-2]
        *events, text = text.split(b"\n\n")
        for event in events:
            for line in event.decode().splitlines():
                if line.startswith(": x-sluice-cost: "):
                    seen.cost_nano = nano(line.rsplit(" ", 1)[1])
                if line.startswith(": x-sluice-receipt: "):
                    receipt = line.rsplit(" ", 1)[1]
                if line.startswith("data: {"):
                    read_event(json.loads(line[6:]), seen)
                if line == "data: [DONE]":
                    seen.end = "whole"
        if size == 0:
            break
    seen.end = seen.end or "cut"
    if seen.end == "whole":
        check_receipt(receipt, seen)


def read_event(event: dict, seen: Seen):
    if "error" in event:
        seen.end = "error event"
    elif event.get("usage"):
        seen.usage = event["usage"]
    elif event["choices"] and event["choices"][0]["delta"].get("content"):
        seen.events += 1


def nano(text: str) -> int:
    units, fraction = text.split(".")
    return int(units) * 10**9 + int(fraction)


def check_receipt(receipt: str, seen: Seen):
    """It says of the request what the headers say."""
    text = base64.b64decode(receipt.split(".")[1]).decode()
    facts = dict(line.split(": ", 1) for line in text.splitlines()
                 if ": " in line)  # fmt: skip
    said = (facts["request"], int(facts["total_nano"]), facts["tenant"])
    if said != (seen.request_id, seen.cost_nano, seen.tenant):
        raise AssertionError(f"{seen}: the receipt says {said}")


def run_storm(options: Options) -> tuple[list[str], dict]:
    """What does not agree afterwards (nothing, if all is well), and what there was."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-storm-"))
        server = None
        store_line = ""
        address = f"sqlite:{folder}/data/store.db"
        if options.store == "postgresql":
            server = stack.enter_context(PostgresServer())
            address = server.url
            store_line = f'store = "{address}"'
        storm, seconds = asyncio.run(whole_storm(options, folder, store_line))
        proof = subprocess.run([binary(), "usage", "verify", "--store", address, "-o", "json"],
                               capture_output=True, text=True)  # fmt: skip
        books = Books(json.loads(proof.stdout), server or f"{folder}/data/store.db")
        faults = differences(books, storm)
        kinds = sorted({event.outcome for event in books.events.values()})
        summary = {
            "requests": len(storm.seen), "events": len(books.events), "faults": len(faults),
            "gateway_deaths": storm.deaths, "engine_deaths": options.engine_deaths,
            "top_ups": len(storm.top_ups), "seconds": round(seconds, 1),
            "outcomes": {kind: sum(e.outcome == kind for e in books.events.values())
                         for kind in kinds},
            "resumed": sum(len(e.replicas) > 1 for e in books.events.values()),
        }  # fmt: skip
        return faults, summary


async def whole_storm(options: Options, folder: str, store_line: str):
    begun = time.monotonic()
    storm = Storm(options, folder, store_line)
    try:
        await storm.run()
        await storm.settle()
    finally:
        for process in (storm.gateway.process, *(e.process for e in storm.engines.values())):
            process.kill()
    return storm, time.monotonic() - begun


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for field in dataclasses.fields(Options):
        kind = field.type if field.type in (int, str) else str
        parser.add_argument("--" + field.name.replace("_", "-"), type=kind, default=field.default)
    found, what = run_storm(Options(**vars(parser.parse_args())))
    print(json.dumps(what, indent=2))
    for fault in found[:50]:
        print("wrong:", fault)
    sys.exit(1 if found else 0)
