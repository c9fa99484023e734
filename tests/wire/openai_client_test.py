"""The unmodified openai SDK against `sluice serve` with the default model."""

import asyncio
import concurrent.futures
import math
import unittest

import openai

from http_exchange import is_idle, wait_for_metrics
from running_server import RunningServer

QUESTION = [{"role": "user", "content": "Name three colours."}]


def setUpModule():
    global server, client, async_client, MODEL
    server = RunningServer("--kv-budget", "256MiB").__enter__()
    unittest.addModuleCleanup(server.__exit__, None, None, None)
    options = {"base_url": server.url + "/v1", "api_key": "-", "max_retries": 0}
    client = openai.OpenAI(**options)
    async_client = openai.AsyncOpenAI(**options)
    MODEL = client.models.list().data[0].id


def chat(**fields):
    fields = {"model": MODEL, "messages": QUESTION, "max_tokens": 12, "temperature": 0} | fields
    return client.chat.completions.create(**fields)


def complete(**fields):
    fields = {"model": MODEL, "prompt": "The capital of France is", "max_tokens": 8,
              "temperature": 0} | fields  # fmt: skip
    return client.completions.create(**fields)


def joined(stream):
    """Text, finish reason and usage of a stream of one choice."""
    text, finish, usage, chunks = "", None, None, []
    for chunk in stream:
        chunks.append(chunk)
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return text, finish, usage, chunks


class Models(unittest.TestCase):
    def test_list_and_retrieve(self):
        listed = client.models.list().data
        self.assertEqual(len(listed), 1)
        self.assertGreater(listed[0].max_model_len, 0)
        self.assertEqual(client.models.retrieve(listed[0].id), listed[0])
        with self.assertRaises(openai.NotFoundError) as refused:
            client.models.retrieve("no/such model")
        self.assertEqual(refused.exception.code, "model_not_found")


class Chat(unittest.TestCase):
    def test_answer_usage_and_ids(self):
        answer = chat()
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.model, MODEL)
        self.assertTrue(answer.id.startswith("chatcmpl-"))
        self.assertNotEqual(answer.id, chat().id)
        choice = answer.choices[0]
        self.assertEqual(choice.message.role, "assistant")
        self.assertTrue(choice.message.content)
        self.assertEqual(choice.finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 12)
        self.assertEqual(
            answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens
        )

    def test_stream_is_the_same_text(self):
        whole = chat()
        stream = chat(stream=True, stream_options={"include_usage": True})
        text, finish, usage, chunks = joined(stream)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(finish, "length")
        self.assertEqual(usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual({c.id for c in chunks}, {chunks[0].id})
        self.assertEqual({c.created for c in chunks}, {chunks[0].created})
        self.assertEqual([c.usage for c in chunks[:-1]], [None] * (len(chunks) - 1))
        self.assertEqual(chunks[-1].choices, [])

    def test_no_usage_unless_asked(self):
        chunks = list(chat(stream=True))
        self.assertTrue(all(c.usage is None and c.choices for c in chunks))

    def test_continuous_usage(self):
        options = {"include_usage": True, "continuous_usage_stats": True}
        chunks = list(chat(stream=True, stream_options=options))
        counts = [c.usage.completion_tokens for c in chunks]
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(counts[-1], 12)

    def test_several_choices(self):
        answer = chat(n=3, temperature=1, seed=7)
        texts = [c.message.content for c in answer.choices]
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2])
        self.assertEqual(len(set(texts)), 3)
        self.assertEqual(answer.usage.completion_tokens, 36)
        streamed = ["", "", ""]
        for chunk in chat(n=3, temperature=1, seed=7, stream=True):
            for choice in chunk.choices:
                streamed[choice.index] += choice.delta.content or ""
        self.assertEqual(streamed, texts)

    def test_seed(self):
        def text(seed):
            return chat(temperature=1.5, seed=seed).choices[0].message.content

        self.assertEqual(text(3), text(3))
        self.assertNotEqual(text(3), text(4))

    def test_logprobs(self):
        answer = chat(logprobs=True, top_logprobs=3)
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), 12)
        self.assertEqual("".join(t.token for t in content), answer.choices[0].message.content)
        for token in content:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), 3)
            best = max(token.top_logprobs, key=lambda t: t.logprob)
            self.assertEqual(best.token, token.token)  # greedy
            self.assertEqual(bytes(token.bytes).decode(errors="replace"), token.token)
        streamed = []
        for chunk in chat(logprobs=True, top_logprobs=3, stream=True):
            for choice in chunk.choices:
                streamed += choice.logprobs.content if choice.logprobs else []
        self.assertEqual([t.token for t in streamed], [t.token for t in content])

    def test_stop(self):
        whole = chat(max_tokens=40).choices[0].message.content
        stop = whole[len(whole) // 2 :][:4]
        before = whole[: whole.index(stop)]
        answer = chat(max_tokens=40, stop=["never seen", stop])
        choice = answer.choices[0]
        self.assertEqual(choice.message.content, before)
        self.assertEqual(choice.finish_reason, "stop")
        self.assertEqual(choice.stop_reason, stop)
        self.assertLess(answer.usage.completion_tokens, 40)
        text, finish, _, _ = joined(chat(max_tokens=40, stop=[stop], stream=True))
        self.assertEqual((text, finish), (before, "stop"))
        kept = chat(max_tokens=40, stop=stop, extra_body={"include_stop_str_in_output": True})
        self.assertEqual(kept.choices[0].message.content, before + stop)

    def test_stop_token_and_bias(self):
        first = complete(prompt="A", logprobs=0).choices[0]
        ids = tokenize(first.text)
        answer = complete(prompt="A", extra_body={"stop_token_ids": [ids[0]]})
        self.assertEqual(answer.choices[0].text, "")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.choices[0].stop_reason, ids[0])
        other = complete(prompt="A", logit_bias={str(ids[0]): -100}).choices[0]
        self.assertNotEqual(tokenize(other.text)[0], ids[0])

    def test_content_parts_and_limits_of_length(self):
        parts = [{"role": "user", "content": [{"type": "text", "text": "Name three colours."}]}]
        self.assertEqual(
            chat(messages=parts).choices[0].message.content, chat().choices[0].message.content
        )
        self.assertEqual(chat(max_completion_tokens=3).usage.completion_tokens, 3)
        long = chat(max_tokens=20, extra_body={"ignore_eos": True, "min_tokens": 20})
        self.assertEqual(long.usage.completion_tokens, 20)

    def test_cached_prefix_and_salt(self):
        words = " ".join(f"word{i}" for i in range(200))
        messages = [{"role": "user", "content": words}]

        def cached(**extra):
            answer = chat(messages=messages, max_tokens=1, extra_body=extra)
            return answer.usage.prompt_tokens_details.cached_tokens

        self.assertEqual(cached(cache_salt="a"), 0)
        self.assertGreater(cached(cache_salt="a"), 500)
        self.assertEqual(cached(cache_salt="b"), 0)
        self.assertEqual(cached(), 0)

    def test_many_at_once(self):
        alone = [chat(messages=[{"role": "user", "content": f"Count from {i}."}]) for i in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            together = list(
                pool.map(
                    lambda i: chat(messages=[{"role": "user", "content": f"Count from {i}."}]),
                    range(8),
                )
            )
        self.assertEqual(
            [a.choices[0].message.content for a in together],
            [a.choices[0].message.content for a in alone],
        )

    def test_async(self):
        async def run():
            answer = await async_client.chat.completions.create(
                model=MODEL, messages=QUESTION, max_tokens=12, temperature=0
            )
            text = ""
            stream = await async_client.chat.completions.create(
                model=MODEL, messages=QUESTION, max_tokens=12, temperature=0, stream=True
            )
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
            await async_client.close()
            return answer.choices[0].message.content, text

        whole, streamed = asyncio.run(run())
        self.assertEqual(whole, chat().choices[0].message.content)
        self.assertEqual(streamed, whole)

    def test_request_id_comes_back(self):
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=QUESTION, max_tokens=1, extra_headers={"x-request-id": "abc-1"}
        )
        self.assertEqual(raw.headers["x-request-id"], "abc-1")
        self.assertGreaterEqual(int(raw.headers["openai-processing-ms"]), 0)
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=QUESTION, max_tokens=1, extra_headers={"x-request-id": "a b"}
        )
        self.assertTrue(raw.headers["x-request-id"].startswith("req-"))


def tokenize(text):
    answer = client.post(
        server.url + "/tokenize",
        body={"prompt": text, "add_special_tokens": False},
        cast_to=dict,
    )
    return answer["tokens"]


class Completions(unittest.TestCase):
    def test_every_form_of_prompt(self):
        text = complete().choices[0].text
        ids = tokenize("The capital of France is")
        self.assertEqual(complete(prompt=ids).choices[0].text, text)
        answer = complete(prompt=["The capital of France is", "A", "B"], n=2)
        self.assertEqual([c.index for c in answer.choices], list(range(6)))
        self.assertEqual([c.text for c in answer.choices[:2]], [text, text])
        answer = complete(prompt=[ids, ids[:2]])
        self.assertEqual(answer.choices[0].text, text)

    def test_stream(self):
        streamed = "".join(c.choices[0].text for c in complete(stream=True) if c.choices)
        self.assertEqual(streamed, complete().choices[0].text)

    def test_default_length(self):
        answer = client.completions.create(
            model=MODEL, prompt="One two", extra_body={"ignore_eos": True}
        )
        self.assertEqual(answer.usage.completion_tokens, 16)

    def test_echo_with_logprobs(self):
        """What lm-eval's local-completions asks for and how it reads the answer."""
        context, continuation = "The capital of France", " is Paris"
        ids = tokenize(context + continuation)
        answer = complete(prompt=ids, echo=True, logprobs=1, max_tokens=1, seed=1)
        choice = answer.choices[0]
        logprobs = choice.logprobs
        self.assertEqual(len(logprobs.tokens), len(ids) + 1)
        self.assertIsNone(logprobs.token_logprobs[0])
        self.assertTrue(choice.text.startswith(context + continuation))
        self.assertEqual("".join(logprobs.tokens[:-1]), context + continuation)
        start = len(tokenize(context))
        self.assertTrue(all(-30 < x <= 0 for x in logprobs.token_logprobs[start:-1]))
        for token, top in zip(logprobs.tokens[1:], logprobs.top_logprobs[1:]):
            self.assertIn(token, top)
        offsets = [len("".join(logprobs.tokens[:i])) for i in range(len(logprobs.tokens))]
        self.assertEqual(logprobs.text_offset, offsets)

    def test_scores_do_not_depend_on_the_cache(self):
        def score(**extra):
            answer = complete(prompt="Water is wet. " * 20, echo=True, logprobs=0, max_tokens=0,
                              **extra)  # fmt: skip
            return answer.choices[0].logprobs.token_logprobs[1:]

        cold, warm = score(), score()
        self.assertEqual(cold, warm)
        self.assertTrue(math.isfinite(sum(cold)))


class Errors(unittest.TestCase):
    def test_bad_request(self):
        with self.assertRaises(openai.BadRequestError) as refused:
            chat(temperature=9)
        self.assertEqual(refused.exception.param, "temperature")
        with self.assertRaises(openai.BadRequestError) as refused:
            chat(tools=[{"type": "function", "function": {"name": "f"}}])
        self.assertEqual(refused.exception.param, "tools")

    def test_unknown_model(self):
        with self.assertRaises(openai.NotFoundError) as refused:
            chat(model="gpt-9")
        self.assertEqual(refused.exception.code, "model_not_found")

    def test_too_long(self):
        with self.assertRaises(openai.BadRequestError) as refused:
            chat(messages=[{"role": "user", "content": "word " * 20000}])
        self.assertEqual(refused.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError) as refused:
            chat(max_tokens=10_000_000)
        self.assertEqual(refused.exception.code, "context_length_exceeded")


class Leaving(unittest.TestCase):
    """A client that goes takes its pages along."""

    def test_closing_a_stream(self):
        stream = chat(max_tokens=3000, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        self.assertGreater(
            wait_for_metrics(server.url, "it runs", lambda m: m["vllm:num_requests_running"] > 0)[
                'sluice:kv_pages{state="used"}'
            ],
            0,
        )
        stream.response.close()
        wait_for_metrics(server.url, "pages are free", is_idle)

    def test_timeout(self):
        with self.assertRaises(openai.APITimeoutError):
            client.with_options(timeout=0.5).chat.completions.create(
                model=MODEL, messages=QUESTION, max_tokens=3000, extra_body={"ignore_eos": True}
            )
        wait_for_metrics(server.url, "pages are free", is_idle)

    def test_several_choices_and_the_queue(self):
        streams = [
            chat(n=16, max_tokens=2000, stream=True, extra_body={"ignore_eos": True})
            for _ in range(6)
        ]
        wait_for_metrics(server.url, "some wait", lambda m: m["vllm:num_requests_waiting"] > 0)
        for stream in streams:
            stream.response.close()
        wait_for_metrics(server.url, "pages are free", is_idle)


if __name__ == "__main__":
    unittest.main(verbosity=2)
