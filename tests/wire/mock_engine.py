"""An engine for tests of the gateway that misbehaves at random: refuses, cuts, stalls, lies by
omission. A process of its own, so that a test can kill it:

    tools/python tests/wire/mock_engine.py --port 0 --log FILE --seed 1 [--key SECRET]

With a key it speaks the extension of Sluice engines (token ids, resume_ids, /internal/events).
What a request's whole answer costs follows from its number (header x-number), so that every part of
a test can compute it; how it goes wrong is drawn from the seed. For each request it takes it writes
a line `REQUEST-ID NUMBER FATE` to its log before it answers.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import random


@dataclasses.dataclass(frozen=True)
class Work:
    """What the whole answer to request `number` uses."""

    prompt: int
    cached: int
    output: int


def work_of(number: int, kind: str) -> Work:
    prompt = 10 + number * 7 % 400
    output = 0 if kind == "embeddings" else 2 + number % 11
    return Work(prompt, prompt // 4 if number % 3 == 0 else 0, output)


# How often each fate comes, of 1000; the rest is answered as it should be.
FATES_OF_WHOLE = {
    "no usage": 50, "status 500": 40, "status 503": 20, "status 429": 15, "status 400": 25,
    "cut before": 40, "cut within": 30, "no HTTP": 10, "error in 200": 10, "slow": 30,
    "silent": 4,
}  # fmt: skip
FATES_OF_STREAM = {
    "no usage": 50, "status 500": 30, "status 503": 15, "status 429": 10, "cut before": 30,
    "cut within": 60, "error event": 30, "usage, then error": 20, "no end": 20, "stalls": 1,
    "slow": 30, "silent": 4, "silent behind its head": 4,
}  # fmt: skip


def usage_json(work: Work) -> dict:
    return {
        "prompt_tokens": work.prompt, "completion_tokens": work.output,
        "total_tokens": work.prompt + work.output,
        "prompt_tokens_details": {"cached_tokens": work.cached},
    }  # fmt: skip


class Connection(asyncio.Protocol):
    """Requests of one connection, one after the other."""

    def __init__(self, engine: "Engine"):
        self.engine = engine
        self.received = b""
        self.task = None

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        if self.task:
            self.task.cancel()

    def data_received(self, data: bytes):
        self.received += data
        self.take_request()

    def take_request(self):
        if (self.task and not self.task.done()) or b"\r\n\r\n" not in self.received:
            return
        head, rest = self.received.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self.received = rest[length:]
        target = lines[0].split()[1]
        self.task = asyncio.ensure_future(self.answer(target, headers, rest[:length]))

    async def answer(self, target: str, headers: dict, body: bytes):
        if not self.transport.is_closing():
            await self.engine.answer(self.transport, target, headers, body)
        self.task = None
        self.take_request()


class Engine:
    def __init__(self, arguments):
        self.chance = random.Random(arguments.seed)
        self.log = os.open(arguments.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.is_sluice = arguments.key is not None

    def fate(self, fates: dict) -> str:
        drawn = self.chance.randrange(1000)
        for fate, share in fates.items():
            if drawn < share:
                return fate
            drawn -= share
        return "good"

    async def answer(self, transport, target: str, headers: dict, body: bytes):
        if target.endswith("/internal/events"):
            return await self.tell_state(transport)
        if not body:  # a probe
            return send(transport, 200, {"status": "ok"})
        asked = json.loads(body)
        number = int(headers["x-number"])
        kind = target.rsplit("/", 1)[1]
        streams = asked.get("stream", False)
        fate = self.fate(FATES_OF_STREAM if streams else FATES_OF_WHOLE)
        os.write(self.log, f"{headers['x-request-id']} {number} {fate}\n".encode())
        work = work_of(number, kind)
        if fate.startswith("status"):
            return refuse(transport, int(fate.split()[1]))
        if fate == "cut before":
            return transport.abort()
        if fate == "silent":
            await asyncio.sleep(3600)
        if fate == "slow":
            await asyncio.sleep(self.chance.random() * 0.2)
        if streams:
            resumed = len(asked.get("sluice", {}).get("resume_ids", []))
            await self.stream(transport, work, fate, resumed)
        else:
            whole(transport, work, fate, kind)

    async def stream(self, transport, work: Work, fate: str, resumed: int):
        transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
            b"\r\n"
        )
        if fate == "silent behind its head":
            await asyncio.sleep(3600)
        breaks_at = self.chance.randrange(resumed, work.output + 1)
        for i in range(resumed, work.output):
            if i == breaks_at and fate == "cut within":
                return transport.abort()
            if i == breaks_at and fate == "error event":
                event(transport, {"error": {"message": "out of memory", "code": 500}})
                return end_events(transport)
            if i == breaks_at and fate == "stalls":
                await asyncio.sleep(3600)
            ids = {"token_ids": [i]} if self.is_sluice else {}
            event(transport, chunk({"delta": {"content": f"t{i} "}, **ids}))
            if fate == "slow" or i % 3 == 2:
                await asyncio.sleep(0.004)
        if fate == "no end":
            return end_events(transport)
        if fate == "usage, then error":
            event(transport, {**chunk(), "choices": [], "usage": usage_json(work)})
            event(transport, {"error": {"message": "lost", "code": 500}})
            return end_events(transport)
        event(transport, chunk({"delta": {}, "finish_reason": "stop"}))
        if fate != "no usage":
            event(transport, {**chunk(), "choices": [], "usage": usage_json(work)})
        part(transport, b"data: [DONE]\n\n")
        end_events(transport)

    async def tell_state(self, transport):
        transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
            b"\r\n"
        )
        load = {"running": 0, "waiting": 0, "queued_prompt_tokens": 0, "kv_pages": 1000,
                "kv_pages_used": 0, "prefill_tokens_per_s": 50000.0,
                "decode_tokens_per_s": 20000.0, "decode_step_ms": 1.0}  # fmt: skip
        for sequence in range(1, 1_000_000):
            event(transport, {"epoch": f"{os.getpid():x}", "sequence": sequence,
                              "snapshot": sequence == 1, "namespace": "b1946ac92492d234",
                              "page_tokens": 32, "state": "ready", "load": load, "added": [],
                              "removed": []})  # fmt: skip
            await asyncio.sleep(1)


def chunk(choice: dict | None = None) -> dict:
    choices = [{"index": 0, "delta": {}, "finish_reason": None, **(choice or {})}]
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": choices, "usage": None}  # fmt: skip


def part(transport, data: bytes):
    transport.write(b"%x\r\n%s\r\n" % (len(data), data))


def event(transport, content: dict):
    part(transport, b"data: " + json.dumps(content).encode() + b"\n\n")


def end_events(transport):
    transport.write(b"0\r\n\r\n")


def send(transport, status: int, content: dict, *headers: str):
    body = json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} S", "Content-Type: application/json",
             f"Content-Length: {len(body)}", *headers, "", ""]  # fmt: skip
    transport.write("\r\n".join(lines).encode() + body)


def refuse(transport, status: int):
    headers = ["Retry-After: 1"] if status in (429, 503) else []
    send(transport, status, {"error": {"message": "no", "code": None}}, *headers)


def whole(transport, work: Work, fate: str, kind: str):
    if fate == "no HTTP":
        transport.write(b"SSH-2.0-x\r\n\r\n")
        return transport.close()
    if fate == "error in 200":
        return send(transport, 200, {"error": {"message": "lost", "code": 500}})
    answer = {"id": "c-1", "object": "answer", "created": 1, "model": "m",
              "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"},
                           "finish_reason": "stop"}]}  # fmt: skip
    if kind == "completions":
        answer["choices"] = [{"index": 0, "text": "x", "finish_reason": "stop"}]
    if kind == "embeddings":
        answer = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}]}
    if fate != "no usage":
        answer["usage"] = usage_json(work)
    if fate == "cut within":
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"{" * 99)
        return transport.abort()
    send(transport, 200, answer)


async def serve(arguments):
    engine = Engine(arguments)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(engine), "127.0.0.1", arguments.port)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--key")
    asyncio.run(serve(parser.parse_args()))
