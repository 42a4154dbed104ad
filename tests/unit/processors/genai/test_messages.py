"""Chat of every make is shaped as MLflow's previews and chat view read it."""

from __future__ import annotations

import json

import pytest

from spanbridge.processors.genai.content.answers import chat_output
from spanbridge.processors.genai.content.documents import documents
from spanbridge.processors.genai.content.messages import chat_input, chat_messages, system_messages
from spanbridge.processors.genai.content.tools import chat_tools, named_tools

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
ASSISTANT_CALL = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}

MESSAGES = [
    ("OTel text", {"role": "user", "parts": [{"type": "text", "content": "Q?"}]}, [{"role": "user", "content": "Q?"}]),
    (
        "OTel tool call",
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1}}]},
        [ASSISTANT_CALL],
    ),
    (
        "OTel tool response, spelt response",
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "sunny"}]},
        [RESULT],
    ),
    (
        "OTel tool response, spelt result, by the user",
        {"role": "user", "parts": [{"type": "tool_call_response", "id": "c1", "result": "sunny"}]},
        [RESULT],
    ),
    (
        "reasoning beside text",
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm"}, {"type": "text", "content": "A!"}]},
        [{"role": "assistant", "content": "A!", "reasoning": "Hm"}],
    ),
    (
        "a blob that is an image",
        {"role": "user", "parts": [{"type": "blob", "mime_type": "image/png", "content": "aGk="}]},
        [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}],
            }
        ],
    ),
    (
        "a file",
        {"role": "user", "parts": [{"type": "file", "mime_type": "application/pdf", "file_id": "f-1"}]},
        [{"role": "user", "content": "[file application/pdf f-1]"}],
    ),
    (
        "a part of no known kind",
        {"role": "user", "parts": [{"type": "hologram", "size": 3}]},
        [{"role": "user", "content": '{"type":"hologram","size":3}'}],
    ),
    ("OpenAI text stays as it is", {"role": "user", "content": "Q?"}, [{"role": "user", "content": "Q?"}]),
    ("developer", {"role": "developer", "content": "Be brief."}, [{"role": "system", "content": "Be brief."}]),
    (
        "OpenAI's old function call",
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
        [{**ASSISTANT_CALL, "tool_calls": [{**CALL, "id": "f"}]}],
    ),
    (
        "Responses API call",
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        [ASSISTANT_CALL],
    ),
    ("Responses API result", {"type": "function_call_output", "call_id": "c1", "output": "sunny"}, [RESULT]),
    (
        "Anthropic blocks",
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm"},
                {"type": "text", "text": "A!"},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            ],
        },
        [{"role": "assistant", "content": "A!", "reasoning": "Hm", "tool_calls": [CALL]}],
    ),
    (
        "Anthropic result and text in one",
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
                {"type": "text", "text": "And now?"},
            ],
        },
        [RESULT, {"role": "user", "content": "And now?"}],
    ),
    (
        "Bedrock, Strands",
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "f", "input": {"a": 1}}}]},
        [ASSISTANT_CALL],
    ),
    (
        "Bedrock result",
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "sunny"}]}}]},
        [RESULT],
    ),
    (
        "Gemini",
        {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}}]},
        [ASSISTANT_CALL],
    ),
    (
        "Gemini response",
        {"role": "user", "parts": [{"function_response": {"id": "c1", "name": "f", "response": "sunny"}}]},
        [RESULT],
    ),
    (
        "Vercel call and result",
        {
            "role": "assistant",
            "content": [
                {"type": "tool-call", "toolCallId": "c1", "toolName": "f", "input": {"a": 1}},
                {"type": "tool-result", "toolCallId": "c1", "output": {"type": "text", "value": "sunny"}},
            ],
        },
        [ASSISTANT_CALL, RESULT],
    ),
    (
        "LangChain constructor",
        {"lc": 1, "id": ["langchain", "schema", "messages", "HumanMessage"], "kwargs": {"content": "Q?"}},
        [{"role": "user", "content": "Q?"}],
    ),
    (
        "LangChain data",
        {"type": "ai", "data": {"content": "", "tool_calls": [{"name": "f", "args": {"a": 1}, "id": "c1"}]}},
        [ASSISTANT_CALL],
    ),
    (
        "LangChain flat",
        {"type": "tool", "content": "sunny", "tool_call_id": "c1"},
        [{"role": "tool", "content": "sunny", "tool_call_id": "c1"}],
    ),
    (
        "Haystack",
        {"role": "assistant", "content": [{"tool_call": {"tool_name": "f", "arguments": {"a": 1}, "id": "c1"}}]},
        [ASSISTANT_CALL],
    ),
    (
        "Haystack result",
        {"role": "tool", "content": [{"tool_call_result": {"result": "sunny", "origin": {"id": "c1"}}}]},
        [RESULT],
    ),
    (
        "LlamaIndex blocks",
        {"role": "user", "blocks": [{"block_type": "text", "text": "Q?"}]},
        [{"role": "user", "content": "Q?"}],
    ),
    (
        "AutoGen agent",
        {"source": "writer", "content": "A!", "type": "TextMessage"},
        [{"role": "assistant", "content": "A!"}],
    ),
]


@pytest.mark.parametrize(("message", "expected"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES])
def test_a_message_of_any_make(message, expected):
    shaped = chat_messages([message])
    assert [_known(item) for item in shaped] == expected
    assert all(_shows(item) for item in shaped)


def _known(message):
    return {key: value for key, value in message.items() if key not in {"type", "data", "lc", "id"}}


def _shows(message):
    """isRawModelTraceChatMessage of MLflow's UI (ModelTraceExplorer.utils.tsx), written again."""
    content = message.get("content")
    parts = {"text", "input_text", "output_text", "image_url", "input_audio"}
    return (
        message["role"] in {"user", "assistant", "system", "tool"}
        and all(isinstance(call["function"]["arguments"], str) for call in message.get("tool_calls") or [])
        and (content is None or isinstance(content, str) or all(part["type"] in parts for part in content))
    )


def test_a_bare_text_is_the_users():
    assert chat_messages("Q?") == [{"role": "user", "content": "Q?"}]


@pytest.mark.parametrize("value", [[], [1, 2], [{"a": 1}], {"a": 1}, None, 3, ["[]", 4]])
def test_what_holds_no_messages(value):
    assert chat_messages(value) == []


INPUTS = [
    (
        {"prompt": "Q?", "system": "S"},
        {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q?"}]},
    ),
    (
        {"input": "Q?", "instructions": "S", "model": "m"},
        {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q?"}], "model": "m"},
    ),
    (
        {"contents": [{"role": "user", "parts": [{"text": "Q?"}]}], "config": {"system_instruction": "S"}},
        {
            "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q?"}],
            "config": {"system_instruction": "S"},
        },
    ),
    ({"prompts": ["Q?"]}, {"messages": [{"role": "user", "content": "Q?"}]}),
    ({"args": ["Q?"], "kwargs": {}}, None),
    ({"messages": "not a list of them"}, {"messages": [{"role": "user", "content": "not a list of them"}]}),
    ({}, None),
    ("Q?", None),
]


@pytest.mark.parametrize(("value", "expected"), INPUTS)
def test_a_request_of_any_make(value, expected):
    assert chat_input(value) == expected
    assert chat_input(json.dumps(value)) == expected


def test_a_request_that_shows_is_left_alone():
    request = {"model": "m", "messages": [{"role": "user", "content": "Q?"}], "temperature": 0}
    assert chat_input(request) is request


SAID = {"role": "assistant", "content": "A!"}
LANGCHAIN = {"kwargs": {"content": "A!"}, "id": ["langchain", "AIMessage"]}
GEMINI = {"role": "model", "parts": [{"text": "A!"}]}
BEDROCK = {"role": "assistant", "content": [{"text": "A!"}]}


def chosen(**more):
    return {"choices": [{"index": 0, "message": SAID, **more}]}


OUTPUTS = [
    (SAID, chosen()),
    ([{**SAID, "finish_reason": "stop"}], chosen(finish_reason="stop")),
    ({"content": [{"type": "text", "text": "A!"}], "role": "assistant", "type": "message"}, chosen()),
    ({"content": GEMINI, "finish_reason": "STOP"}, chosen(finish_reason="STOP")),
    ({"candidates": [{"content": GEMINI}]}, chosen()),
    ({"generations": [[{"text": "A!", "message": LANGCHAIN}]]}, chosen()),
    ({"generations": [[{"text": "A!"}]]}, chosen()),
    ({"output": {"message": BEDROCK}, "stopReason": "end_turn"}, chosen(finish_reason="end_turn")),
    ({"message": SAID, "done": True}, chosen()),
    ([ASSISTANT_CALL, RESULT, SAID], {"messages": [ASSISTANT_CALL, RESULT, SAID]}),
    ({"answer": 42}, None),
    ([1, 2], None),
    ([], None),
    ("A!", None),
]


@pytest.mark.parametrize(("value", "expected"), OUTPUTS)
def test_an_answer_of_any_make(value, expected):
    assert chat_output(value) == expected


def test_a_choice_holds_one_text():
    parts = [{"type": "text", "text": "A!"}, {"type": "image_url", "image_url": {"url": "u"}}]
    assert chat_output({"choices": [{"message": {"role": "assistant", "content": parts}}]}) == {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "A!\n\n[image]"}}]
    }


def test_an_answer_that_shows_is_left_alone():
    answer = {
        "id": "x",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}],
    }
    assert chat_output(answer) is answer


@pytest.mark.parametrize(
    "value", ["S", [{"type": "text", "content": "S"}], {"parts": [{"text": "S"}]}, '[{"text":"S"}]']
)
def test_system_instructions_of_any_make(value):
    assert system_messages(value) == [{"role": "system", "content": "S"}]


TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
TOOLS = [
    [TOOL],
    [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
    [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
    [{"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}}}],
    [{"function_declarations": [{"name": "f", "description": "d", "parameters_json_schema": {"type": "object"}}]}],
    ['{"type":"function","name":"f","description":"d","inputSchema":{"type":"object"}}'],
    [{"name": "f", "description": "d", "parameters": '{"type":"object"}'}],
]


@pytest.mark.parametrize("value", TOOLS)
def test_tools_of_any_make(value):
    assert chat_tools(value) == [TOOL]
    assert chat_tools(json.dumps(value)) == [TOOL]


def test_a_schema_that_the_ui_would_refuse_is_mended():
    schema = {
        "type": "object",
        "properties": {"q": {"type": ["string", "null"], "enum": "x"}, "r": True},
        "required": "q",
    }
    assert chat_tools([{"name": "f", "parameters": schema}]) == [
        {
            "type": "function",
            "function": {
                "name": "f",
                "parameters": {"type": "object", "properties": {"q": {"type": "string | null"}, "r": {}}},
            },
        }
    ]


@pytest.mark.parametrize("value", [None, [], "text", [1], {"a": 1}])
def test_no_tools(value):
    assert chat_tools(value) is None


@pytest.mark.parametrize("value", [["a", "b"], "a, b", '["a","b"]'])
def test_tools_by_name(value):
    assert [tool["function"]["name"] for tool in named_tools(value)] == ["a", "b"]


DOCUMENTS = [
    ([{"content": "t", "id": 1, "score": 0.5}], [{"page_content": "t", "metadata": {"score": 0.5}, "id": "1"}]),
    ('[{"page_content":"t","metadata":{"a":1}}]', [{"page_content": "t", "metadata": {"a": 1}}]),
    (["t"], [{"page_content": "t"}]),
    ([{"document.content": "t", "document.metadata": '{"a":1}'}], [{"page_content": "t", "metadata": {"a": 1}}]),
    ([{"id": "d1"}], [{"page_content": "", "id": "d1"}]),
    ([{"content": {"a": 1}}], [{"page_content": "", "metadata": {"content": {"a": 1}}}]),
    ([{"other": 1}], None),
    ([], None),
    ("text", None),
]


@pytest.mark.parametrize(("value", "expected"), DOCUMENTS)
def test_documents_of_any_make(value, expected):
    assert documents(value) == expected
