"""Compares `sluice tokenize` with the reference pairs that come with llama.cpp's sources.

    tokenizer_pairs.py [--sluice build/release/bin/sluice] SOURCES

SOURCES is the unpacked llama.cpp. For each family, models/ggml-vocab-FAMILY.gguf is the
vocabulary, .inp holds texts and .out the ids that Hugging Face tokenizers gave for each.
Exit 1 on a difference.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

FAMILIES = ["gpt-2", "llama-bpe", "llama-spm", "qwen2", "qwen35", "deepseek-llm", "deepseek-coder"]
SEPARATOR = "\n__ggml_vocab_test__\n"


def read_pairs(models, family):
    texts = (models / f"ggml-vocab-{family}.gguf.inp").read_bytes().decode().split(SEPARATOR)
    lines = (models / f"ggml-vocab-{family}.gguf.out").read_text().split("\n")
    ids = [[int(word) for word in line.split()] for line in lines]
    # Both files end with a separator.
    return list(zip(texts[: len(ids) - 1], ids))


def tokenize(sluice, vocabulary, texts):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run(
        [sluice, "tokenize", str(vocabulary), "-o", "json", "--batch", "--no-special"],
        input=lines, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{vocabulary.name}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--sluice", default=os.environ.get("SLUICE_BINARY", "build/release/bin/sluice"))
    parser.add_argument("sources", type=pathlib.Path)
    arguments = parser.parse_args()
    different = 0
    for family in FAMILIES:
        vocabulary = arguments.sources / "models" / f"ggml-vocab-{family}.gguf"
        pairs = read_pairs(vocabulary.parent, family)
        found = tokenize(arguments.sluice, vocabulary, [text for text, _ in pairs])
        wrong = [(*pair, ids) for pair, ids in zip(pairs, found, strict=True) if pair[1] != ids]
        print(f"{family:15} {len(pairs) - len(wrong):3} of {len(pairs):3} equal")
        for text, expected, ids in wrong:
            print(f"  {text!r}\n    expected {expected}\n    found    {ids}")
        different += len(wrong)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
