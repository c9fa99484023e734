"""Python's jinja2 as Hugging Face's apply_chat_template sets it up: the reference of src/jinja."""

import copy
import datetime
import json

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

# The moment that strftime_now() prints in goldens and comparisons: 2024-07-26 09:05:03 UTC.
NOW_UNIX_S = 1721984703


class GenerationTag(Extension):
    """{% generation %}…{% endgeneration %}: the assistant's text; renders as it stands."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


class Raised(TemplateError):
    """raise_exception() was called."""


def raise_exception(message):
    raise Raised(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def strftime_now(pattern):
    now = datetime.datetime.fromtimestamp(NOW_UNIX_S, datetime.timezone.utc)
    return now.replace(tzinfo=None).strftime(pattern)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    env.filters["tojson"] = to_json
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def render(env, template, context):
    """{"expected": text}, {"raised": message} or {"error": text}.

    The context is copied: `|indent` of a list adds to the list itself.
    """
    try:
        return {"expected": env.from_string(template).render(**copy.deepcopy(context))}
    except Raised as error:
        return {"error": "Raised", "raised": str(error.message)}
    except Exception as error:  # whatever Python raises, we must refuse as well
        return {"error": f"{type(error).__name__}: {error}"}
