"""Drafts through the whole server: with them and without, answers are the same, whatever ends them
and whatever is asked of their tokens."""

import json
import pathlib
import unittest
import urllib.request

from http_exchange import DEADLINE_S
from running_server import RunningServer

PROMPT = (
    pathlib.Path(__file__).resolve().parent.parent.parent / "bench/prompts/quote_and_edit.txt"
).read_text()
SMALL = ("--kv-budget", "256MiB")
REQUESTS = {
    "plain": {},
    # Stop strings begin and end inside of what one step brings.
    "stop": {"stop": ["on Mondays", "ea, bread a"]},
    "stop inside a word": {"stop": ["nducto"], "logprobs": 3},
    "log probabilities": {"logprobs": 5, "max_tokens": 40},
    "sampled": {"temperature": 0.4, "seed": 7, "logprobs": 2, "stop": ["conductor"]},
    "two choices": {"temperature": 0.7, "seed": 11, "n": 2, "max_tokens": 24},
    "penalties": {"frequency_penalty": 0.5, "logit_bias": {"28": -5}, "max_tokens": 32},
    "one token": {"max_tokens": 1, "logprobs": 1},
}


def complete(server, **fields) -> bytes:
    body = {"prompt": PROMPT, "max_tokens": 64, "temperature": 0, **fields}
    request = urllib.request.Request(
        server.url + "/v1/completions", json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return answer.read()


class Drafts(unittest.TestCase):
    def answers(self, server) -> dict:
        found = {}
        for name, fields in REQUESTS.items():
            found[name] = json.loads(complete(server, **fields))
            streamed = complete(server, **fields, stream=True)
            texts = [""] * len(found[name]["choices"])
            for line in streamed.decode().splitlines():
                if line.startswith("data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        texts[choice["index"]] += choice["text"]
            self.assertEqual(texts, [c["text"] for c in found[name]["choices"]], name)
        return found

    def test_change_no_answer(self):
        found = {}
        for mode in ("off", "ngram"):
            with RunningServer(*SMALL, "--speculation", mode) as server:
                found[mode] = self.answers(server)
        accepted = 0
        for name in REQUESTS:
            plain, drafted = found["off"][name], found["ngram"][name]
            self.assertEqual(drafted["choices"], plain["choices"], name)
            usage = [a["usage"].pop("completion_tokens_details") for a in (plain, drafted)]
            self.assertEqual(drafted["usage"], plain["usage"], name)
            self.assertEqual(usage[0]["accepted_prediction_tokens"], 0)
            accepted += usage[1]["accepted_prediction_tokens"]
        # How many is a matter of measured times: on a busy machine few are worth a wider step.
        self.assertGreater(accepted, 0)
        for name in ("stop", "stop inside a word"):
            self.assertEqual(found["off"][name]["choices"][0]["finish_reason"], "stop")


if __name__ == "__main__":
    unittest.main(verbosity=2)
