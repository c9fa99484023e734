#!/usr/bin/env python3
"""Compare `sluice tokenize` with Hugging Face tokenizers on random texts.

    compare_tokenizers.py tokenizer.json [--model MODEL] [--seconds 60] [--seed 1]

Needs the package tokenizers. MODEL is what sluice reads, the same file unless given (a GGUF file
and what tools/write_hf_tokenizer.py wrote out of it, say). Exit 1, after ten differences at most.
Characters are those of Unicode 3.2, on which all libraries agree.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
import unicodedata

from tokenizers import Tokenizer

WORDS = [
    "the", "Hello", "don't", "I'll", "we'VE", "it'\u017f", "naïve", "e\u0301", "中文", "汉字测试",
    "日本語", "テスト", "한국어", "\u1100\u1161\u11a8", "...", "---", "://", "12345", "3.14", "Ⅷ",
    "½", "٣", "\r\n", " \n", "\n\n", "\t", "'''", "'S", "\u3000", "\xa0", "\u2028", "\x85",
    "\u200d", "👨‍👩‍👧", "ﬁ", "<|", "|>", "  ", "     ",
]  # fmt: skip
CHARACTERS = [
    character
    for character in map(chr, range(0x110000))
    if unicodedata.ucd_3_2_0.category(character) not in ("Cn", "Cs")
]


def random_text(chance, special):
    makers = [
        lambda: chance.choice(WORDS),
        lambda: chance.choice(WORDS),
        lambda: " " * chance.choice([1, 1, 1, 2, 5]),
        lambda: chance.choice(CHARACTERS[:10_000]),
        lambda: chance.choice(CHARACTERS),
        lambda: chr(chance.randint(0, 127)) * chance.choice([1, 1, 2, 4]),
        lambda: "".join(chance.choices("abcdefgstlvrem'", k=chance.randint(1, 8))),
    ]
    parts = [chance.choice(makers)() for _ in range(chance.randint(0, 25))]
    if special and chance.random() < 0.5:
        text = chance.choice(special)
        whole = chance.random() < 0.7
        cut = len(text) if whole else chance.randint(1, len(text))
        parts.insert(chance.randint(0, len(parts)), text[:cut])
    return "".join(parts)


def tokenize(sluice, model, texts):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run(
        [sluice, "tokenize", model, "-o", "json", "--batch"],
        input=lines, capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode != 0:
        sys.exit(done.stderr.strip())
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("tokenizer_json")
    parser.add_argument("--model")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    sluice = os.environ.get("SLUICE_BINARY", "build/release/bin/sluice")
    reference = Tokenizer.from_file(arguments.tokenizer_json)
    special = [token.content for token in reference.get_added_tokens_decoder().values()]
    chance = random.Random(arguments.seed)
    end = time.monotonic() + arguments.seconds
    compared = different = 0
    while time.monotonic() < end and different < 10:
        texts = [random_text(chance, special) for _ in range(500)]
        found = tokenize(sluice, arguments.model or arguments.tokenizer_json, texts)
        for text, ids in zip(texts, found, strict=True):
            expected = reference.encode(text, add_special_tokens=False).ids
            if ids != expected:
                print(f"{text!r}\n  expected {expected}\n  found    {ids}")
                different += 1
        compared += len(texts)
    print(f"{compared} texts, {different} different (seed {arguments.seed})")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
