"""Conversations that chat templates are rendered with: what a server would hand to a template."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name, e.g. \"Köln\""},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": ["integer", "null"], "minimum": 0, "maximum": 14},
                "places": {"type": "array", "items": {"type": "object", "properties": {}}},
            },
            "required": ["city"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "now",
        "description": "The time <now> & here",
        "parameters": {"type": "object", "properties": {}},
        "strict": True,
    },
}


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def tool_call(name, arguments, call_id="call00001"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(text, call_id="call00001", name="get_weather"):
    return {"role": "tool", "content": text, "tool_call_id": call_id, "name": name}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


TOOL_TURN = [
    user("How is the weather in Köln?"),
    assistant("", tool_calls=[tool_call("get_weather", {"city": "Köln", "days": 2})]),
    tool('{"degrees": 21.5, "sky": "clear"}'),
]
TWO_CALLS = [
    system("Use the tools."),
    user("Weather and time?"),
    assistant(
        "Let me look.",
        tool_calls=[
            tool_call("get_weather", {"city": "Rome", "unit": None, "places": [1, {"a": True}]}),
            tool_call("now", {}, "call00002"),
        ],
    ),
    tool("21 °C"),
    tool("12:30", "call00002", "now"),
    assistant("It is 21 °C at 12:30."),
    user("Thanks!"),
]

MESSAGES = {
    "one question": [user("Hello")],
    "system": [system("You are helpful."), user("Hi there")],
    "turns": [user("1+1?"), assistant("2"), user("2+2?"), assistant("4"), user("and 3+3?")],
    "system and turns": [
        system("Be brief.\n"),
        user("  spaces around  "),
        assistant("\nline\n"),
        user("bye"),
    ],
    "answer last": [user("Begin a list"), assistant("1. one")],
    "empty texts": [system(""), user(""), assistant(""), user("")],
    "no messages": [],
    "only system": [system("Alone")],
    "unicode": [
        system("Ты помощник 🤖"),
        user("你好，世界！ ¿Qué? \u200b e\u0301 👩‍👩‍👧"),
        assistant("好"),
        user("ß İ"),
    ],
    "special text": [
        user("<|im_start|>system\nHi<|im_end|> {{ 1 + 1 }} {% if %} 'q' \"d\" \\ & <b>"),
    ],
    "two users": [user("first"), user("second")],
    "assistant first": [assistant("Welcome"), user("Hi")],
    "system later": [user("a"), assistant("b"), system("now rules"), user("c")],
    "text parts": [system("S"), {"role": "user", "content": parts("part one", "part two")}],
    "content none": [
        user("Call it"),
        assistant(None, tool_calls=[tool_call("now", {})]),
        tool("12"),
    ],
    "reasoning in text": [
        user("Think"),
        assistant("<think>\nsteps\n</think>\n\nAnswer"),
        user("Again"),
        assistant("<think>a</think>b"),
        user("More"),
    ],
    "reasoning apart": [
        user("Think"),
        assistant("Answer", reasoning_content="some steps"),
        user("Again"),
    ],
    "thinking apart": [user("Think"), assistant("Answer", thinking="deep"), user("Again")],
    "tool turn": TOOL_TURN,
    "tool turn, text arguments": [
        TOOL_TURN[0],
        assistant(None, tool_calls=[tool_call("get_weather", '{"city": "Köln"}')]),
        TOOL_TURN[2],
        assistant("Sunny."),
        user("ok"),
    ],
    "two calls": TWO_CALLS,
    "reasoning and calls": [
        user("Weather?"),
        assistant("", reasoning_content="need it", tool_calls=[tool_call("now", {"a": 1})]),
        tool("13"),
        assistant("13 h", reasoning_content="got it"),
        user("ok"),
    ],
    "unknown role": [{"role": "judge", "content": "Hm"}, user("x")],
    "developer": [{"role": "developer", "content": "Rules"}, user("x")],
    "no content": [{"role": "user"}],
    "number as content": [user(42)],
    "long": [
        message
        for i in range(20)
        for message in (user(f"question {i}"), assistant(f"answer {i}"))
    ]
    + [user("last")],
}

BASE = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}


def conversations():
    """Name to context."""
    contexts = {}
    for name, messages in MESSAGES.items():
        contexts[name] = {**BASE, "messages": messages}
    with_tools = ("one question", "system", "tool turn", "two calls", "content none", "turns",
                  "reasoning and calls", "no messages", "tool turn, text arguments")
    for name in with_tools:
        contexts[f"{name}, tools"] = {**BASE, "messages": MESSAGES[name], "tools": [WEATHER, CLOCK]}
    for name in ("one question", "turns", "reasoning in text", "tool turn", "answer last"):
        contexts[f"{name}, no prompt"] = {
            **BASE, "messages": MESSAGES[name], "add_generation_prompt": False,
        }
    for flag in (True, False):
        for name in ("one question", "reasoning in text", "reasoning and calls"):
            contexts[f"{name}, thinking {flag}"] = {
                **BASE, "messages": MESSAGES[name], "enable_thinking": flag, "thinking": flag,
            }
    contexts["tools none"] = {**BASE, "messages": MESSAGES["system"], "tools": None}
    contexts["tools empty"] = {**BASE, "messages": MESSAGES["system"], "tools": []}
    contexts["no tokens"] = {"messages": MESSAGES["system and turns"]}
    contexts["documents"] = {
        **BASE,
        "messages": MESSAGES["one question"],
        "documents": [
            {"title": "T1", "text": "body", "content": "c"},
            {"title": "T2", "text": "x"},
        ],
        "date_string": "01 Jan 2025",
    }
    contexts["options"] = {
        **BASE,
        "messages": MESSAGES["two calls"],
        "tools": [WEATHER, CLOCK],
        "tools_in_user_message": False,
        "date_string": "01 Jan 2025",
        "reasoning_effort": "high",
        "model_identity": "You are it.",
        "builtin_tools": ["browser", "python"],
        "add_generation_prompt": True,
        "preserve_thinking": True,
    }
    return contexts
