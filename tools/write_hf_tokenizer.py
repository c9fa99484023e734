#!/usr/bin/env python3
"""Write the tokenizer inside a GGUF file as a Hugging Face folder, for load tools that want one.

    write_hf_tokenizer.py MODEL.gguf FOLDER       needs the gguf package

FOLDER gets tokenizer.json, tokenizer_config.json (with the chat template) and config.json;
byte-level BPE only. The result gives the same ids as `sluice tokenize`.
"""

import json
import pathlib
import sys

from gguf import GGUFReader

CONTROL, USER_DEFINED = 3, 4
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {"llama-bpe": LLAMA3, "qwen2": LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")}


def byte_level(use_regex):
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def pre_tokenizer(name):
    if name == "gpt-2":
        return byte_level(True)
    if name == "smollm":
        steps = [{"type": "Digits", "individual_digits": True}, byte_level(True)]
    elif name in SPLITS:
        split = {
            "type": "Split",
            "pattern": {"Regex": SPLITS[name]},
            "behavior": "Isolated",
            "invert": False,
        }
        steps = [split, byte_level(False)]
    else:
        known = ", ".join(["gpt-2", "smollm", *SPLITS])
        sys.exit(f"pre-tokenizer '{name}' is not known here; known: {known}")
    return {"type": "Sequence", "pretokenizers": steps}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    reader = GGUFReader(sys.argv[1])
    value = lambda key, default=None: (
        reader.fields[key].contents() if key in reader.fields else default
    )
    model = value("tokenizer.ggml.model")
    if model != "gpt2":
        sys.exit(f"tokenizer.ggml.model is '{model}', only 'gpt2' (byte-level BPE) can be written")
    tokens, types = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    pre = value("tokenizer.ggml.pre")
    added = [
        {
            "id": i,
            "content": tokens[i],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": types[i] == CONTROL,
        }
        for i in range(len(tokens))
        if types[i] in (CONTROL, USER_DEFINED)
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": pre_tokenizer(pre),
        "post_processor": None,
        "decoder": byte_level(True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre == "llama-bpe",
            "vocab": {t: i for i, t in enumerate(tokens)},
            "merges": value("tokenizer.ggml.merges"),
        },
    }
    token_at = lambda key: tokens[value(key)] if value(key) is not None else None
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token_at("tokenizer.ggml.bos_token_id"),
        "eos_token": token_at("tokenizer.ggml.eos_token_id"),
        "clean_up_tokenization_spaces": False,
        "chat_template": value("tokenizer.chat_template"),
    }
    architecture = value("general.architecture")
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", config),
        ("config.json", {"model_type": architecture}),
    ):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    print(folder)


if __name__ == "__main__":
    main()
