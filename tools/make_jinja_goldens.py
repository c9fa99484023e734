#!/usr/bin/env python3
"""Writes tests/data/jinja/*.json: templates with what Python's jinja2 makes of them.

usage: make_jinja_goldens.py        (needs jinja2; the versions are written into the files)

expressions.json   operators, filters, tests and methods on many values
statements.json    tags, scopes, white space, errors of syntax
chat.json          templates/*.jinja × the conversations of chat_conversations.py
"""

import json
import pathlib

import jinja2

import chat_conversations
import jinja_golden_cases
import jinja_reference

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "jinja"


def case(env, template, context):
    return {"template": template, **jinja_reference.render(env, template, context)}


def small_cases(env, templates):
    contexts = [jinja_golden_cases.CONTEXT]
    distinct = dict.fromkeys(templates)  # keeps the order
    cases = [{**case(env, template, contexts[0]), "context": 0} for template in distinct]
    return contexts, [golden for golden in cases if not is_unstable(golden.get("expected", ""))]


def is_unstable(text):
    """Shows a Python object: its address differs from run to run."""
    return " at 0x" in text.lower() or text.startswith("<bound method")


def chat_cases(env):
    contexts = list(chat_conversations.conversations().values())
    cases = []
    for path in sorted((FOLDER / "templates").glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        for index, context in enumerate(contexts):
            golden = jinja_reference.render(env, source, context)
            cases.append({"file": path.name, "context": index, **golden})
    return contexts, cases


def write(name, contexts, cases):
    path = FOLDER / name
    head = {
        "made_by": "tools/make_jinja_goldens.py",
        "jinja2": jinja2.__version__,
        "now": jinja_reference.NOW_UNIX_S,
    }
    lines = [json.dumps(golden, ensure_ascii=False) for golden in cases]
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1])
        file.write(',\n"contexts": ' + json.dumps(contexts, ensure_ascii=False))
        file.write(',\n"cases": [\n' + ",\n".join(lines) + "\n]}\n")
    failing = sum("error" in golden for golden in cases)
    print(f"{path.name}: {len(cases)} cases, {failing} of them errors")


def main():
    env = jinja_reference.environment()
    write("expressions.json", *small_cases(env, jinja_golden_cases.expressions()))
    write("statements.json", *small_cases(env, jinja_golden_cases.statements()))
    write("chat.json", *chat_cases(env))


if __name__ == "__main__":
    main()
