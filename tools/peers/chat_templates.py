#!/usr/bin/env python3
"""Renders published chat templates with Python's jinja2 and with ours, and lists the differences.

    chat_templates.py [--renderer build/release/bin/jinja_render] [--verbose] SOURCES

SOURCES is the unpacked llama.cpp (its models/templates is read), or any folder of *.jinja files.
Each is rendered with the conversations of tools/chat_conversations.py. A template counts as equal
when every conversation gives the same text, or an error in both. Exit 1 when fewer than --required
are equal.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import chat_conversations  # noqa: E402
import jinja_reference  # noqa: E402


def parse_arguments():
    binary = pathlib.Path(os.environ.get("SLUICE_BINARY", "build/release/bin/sluice"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sources", type=pathlib.Path)
    parser.add_argument("--renderer", default=binary.parent / "jinja_render")
    parser.add_argument("--required", type=int, default=55, help="templates that must be equal")
    parser.add_argument("--verbose", action="store_true", help="print both texts of a difference")
    return parser.parse_args()


def render_ours(renderer, jobs):
    lines = "".join(json.dumps(job) + "\n" for job in jobs)
    done = subprocess.run([renderer], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def difference(reference, ours):
    """Nothing where both agree, else one line."""
    if "expected" in reference and "output" in ours:
        if reference["expected"] == ours["output"]:
            return None
        pairs = zip(reference["expected"], ours["output"])
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        at = min(len(reference["expected"]), len(ours["output"])) if at is None else at
        cut = slice(max(at - 20, 0), at + 30)
        return f"text differs at {at}: {reference['expected'][cut]!r} != {ours['output'][cut]!r}"
    if "expected" in reference:
        return f"only ours fails: {ours['error']}"
    if "output" in ours:
        return f"only jinja2 fails: {reference['error']}"
    if "raised" in reference and reference["raised"] != ours["error"]:
        return f"raised {reference['raised']!r}, ours {ours['error']!r}"
    return None


def main():
    arguments = parse_arguments()
    env = jinja_reference.environment()
    conversations = chat_conversations.conversations()
    published = arguments.sources / "models" / "templates"
    folder = published if published.is_dir() else arguments.sources
    paths = sorted(folder.glob("*.jinja"))
    equal = 0
    failed_in_both = 0
    for path in paths:
        source = path.read_text(encoding="utf-8")
        jobs = [
            {"template": source, "context": context, "now": jinja_reference.NOW_UNIX_S}
            for context in conversations.values()
        ]
        ours = render_ours(arguments.renderer, jobs)
        differences = []
        for (name, context), our in zip(conversations.items(), ours):
            reference = jinja_reference.render(env, source, context)
            failed_in_both += "error" in reference and "error" in our
            what = difference(reference, our)
            if what is None:
                continue
            differences.append(f"    {name}: {what}")
            if arguments.verbose:
                differences.append(f"      jinja2: {reference}\n      ours:   {our}")
        equal += not differences
        if differences:
            print(f"{path.name}: {len(differences)} of {len(conversations)} conversations differ")
            print("\n".join(differences))
    total = len(paths) * len(conversations)
    print(
        f"{equal} of {len(paths)} templates equal, {len(conversations)} conversations each "
        f"({failed_in_both} of {total} renderings are errors in both)"
    )
    return 0 if equal >= min(arguments.required, len(paths)) and paths else 1


if __name__ == "__main__":
    sys.exit(main())
