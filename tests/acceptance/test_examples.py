"""The examples of deploy/examples, run against the processors of `spanbridge up`: what MLflow shows of each."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from spanbridge.collector.cli import up
from tests.paths import ROOT
from tests.polling import until_sync
from tests.samples.reading import traces
from tests.servers.program import Ports, Program, configuration

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # mlflow's use of SQLAlchemy
    pytest.mark.timeout(180),
]

EXAMPLES = sorted((ROOT / "deploy" / "examples").glob("*.py"))
EXPERIMENT = "examples"


def run(example, ports):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{ports.grpc}"
    done = subprocess.run(
        [sys.executable, str(example)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{example.name}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def printed_and_shown(sqlite, tmp_path_factory):
    """By the example's name what it printed, and by the service's name the trace that MLflow shows."""
    ports, folder = Ports(), tmp_path_factory.mktemp("examples")
    processors = yaml.safe_load(up.configuration(folder))["processors"]
    mlflow = {"tracking_uri": sqlite, "experiment": EXPERIMENT}
    config = configuration(ports, folder, mlflow, processors=processors)
    with Program(config, folder, ports) as program, ThreadPoolExecutor() as pool:
        printed = list(pool.map(lambda example: run(example, ports), EXAMPLES))
        until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, what=f"delivery\n{program.tail()}")
    found = list(traces(sqlite, EXPERIMENT))
    assert len(found) == len(EXAMPLES), "each example is one trace"
    return (
        {example.stem: text.strip() for example, text in zip(EXAMPLES, printed, strict=True)},
        {trace.info.tags["service.name"]: trace for trace in found},
    )


@pytest.fixture
def printed(printed_and_shown):
    return printed_and_shown[0]


@pytest.fixture
def shown(printed_and_shown):
    return printed_and_shown[1]


def tree(trace):
    """(name, type, status, name of the parent) of each span, by start."""
    names = {span.span_id: span.name for span in trace.data.spans}
    ordered = sorted(trace.data.spans, key=lambda span: span.start_time_ns)
    return [(s.name, s.span_type, s.status.status_code.value, names.get(s.parent_id)) for s in ordered]


def one(trace, name):
    [span] = trace.search_spans(name=name)
    return span


def user(text):
    return {"messages": [{"role": "user", "content": text}]}


def assistant(text, **message):
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text, **message}}]}


def test_each_example_prints_its_result(printed):
    assert printed == {
        "agent_task": "Go to the Science Museum.",
        "llm_call": "Paris.",
        "nested_phases": "failed: mail.example.com refused the connection",
        "tool_call": "No, the sky over Lisbon is clear.",
    }


def test_an_llm_call(shown):
    trace = shown["llm-call"]
    assert (trace.info.tags["mlflow.traceName"], trace.info.state) == ("chat gpt-4o-mini", "OK")
    assert (trace.info.request_preview, trace.info.response_preview) == ("What is the capital of France?", "Paris.")
    usage = {"input_tokens": 24, "output_tokens": 3, "total_tokens": 27, "cache_read_input_tokens": 16}
    assert trace.info.token_usage == usage
    assert trace.info.cost["total_cost"] > 0

    assert tree(trace) == [("chat gpt-4o-mini", "CHAT_MODEL", "UNSET", None)]
    [span] = trace.data.spans
    system = {"role": "system", "content": "Answer in one word."}
    assert span.inputs == {"messages": [system, {"role": "user", "content": "What is the capital of France?"}]}
    [choice] = span.outputs["choices"]
    assert (choice["message"], choice["finish_reason"]) == ({"role": "assistant", "content": "Paris."}, "stop")
    assert span.get_attribute("mlflow.llm.model") == "gpt-4o-mini-2024-07-18"
    assert span.get_attribute("mlflow.llm.provider") == "openai"
    assert span.get_attribute("mlflow.chat.tokenUsage") == usage


def test_a_tool_call(shown):
    trace = shown["tool-call"]
    assert (trace.info.tags["mlflow.traceName"], trace.info.state) == ("weather question", "OK")
    question, answer = "Do I need an umbrella in Lisbon?", "No, the sky over Lisbon is clear."
    assert (trace.info.request_preview, trace.info.response_preview) == (question, answer)
    assert trace.info.token_usage == {"input_tokens": 200, "output_tokens": 29, "total_tokens": 229}

    chat = ("chat claude-sonnet-4-5", "CHAT_MODEL", "UNSET", "weather question")
    tool = ("execute_tool get_weather", "TOOL", "UNSET", "weather question")
    assert tree(trace)[1:] == [chat, tool, chat]
    assert one(trace, tool[0]).inputs == {"city": "Lisbon"}
    assert one(trace, tool[0]).outputs == {"city": "Lisbon", "sky": "clear", "celsius": 21}

    first, second = trace.search_spans(name=chat[0])
    function = {"name": "get_weather", "arguments": '{"city":"Lisbon"}'}
    wish = {"tool_calls": [{"id": "call-1", "type": "function", "function": function}]}
    assert (first.inputs, first.outputs) == (user(question), assistant(None, **wish))
    assert [message["role"] for message in second.inputs["messages"]] == ["user", "assistant", "tool"]
    assert second.inputs["messages"][2]["tool_call_id"] == "call-1"
    assert second.outputs == assistant(answer)
    assert first.get_attribute("mlflow.chat.tools")[0]["function"]["name"] == "get_weather"


def test_an_agent_task(shown):
    trace = shown["travel-guide"]
    assert (trace.info.tags["mlflow.traceName"], trace.info.state) == ("invoke_agent travel-guide", "OK")
    question, answer = "Which museum in London should I see?", "Go to the Science Museum."
    assert (trace.info.request_preview, trace.info.response_preview) == (question, answer)
    assert trace.info.token_usage == {"input_tokens": 61, "output_tokens": 7, "total_tokens": 68}
    identity = {"mlflow.trace.session": "tour-2026", "mlflow.trace.user": "ada"}
    assert trace.info.trace_metadata.items() >= identity.items()
    assert trace.info.tags.items() >= {"topic": "museums", "deployment.environment.name": "demo"}.items()

    root = "invoke_agent travel-guide"
    assert tree(trace) == [
        (root, "AGENT", "UNSET", None),
        ("classify", "CLASSIFIER", "UNSET", root),
        ("search_memory", "MEMORY", "UNSET", root),
        ("retrieval guidebook", "RETRIEVER", "UNSET", root),
        ("chat gpt-4o-mini", "CHAT_MODEL", "UNSET", root),
    ]
    assert (one(trace, root).inputs, one(trace, root).outputs) == (user(question), assistant(answer))
    assert one(trace, "classify").inputs == {"question": question}
    assert one(trace, "classify").outputs == {"label": "museums", "score": 0.93}
    assert one(trace, "search_memory").inputs == {"query": "What does ada like?"}
    assert one(trace, "search_memory").outputs == [{"id": "m-1", "content": "Ada likes machines."}]
    assert one(trace, "retrieval guidebook").inputs == {"query": question}
    found = one(trace, "retrieval guidebook").outputs
    assert [(document["id"], document["metadata"]["score"]) for document in found] == [("p-12", 0.91), ("p-40", 0.44)]
    assert found[0]["page_content"] == "The Science Museum shows a Difference Engine."


def test_nested_phases_with_an_error(shown):
    trace = shown["nightly-report"]
    assert (trace.info.tags["mlflow.traceName"], trace.info.state) == ("nightly report", "ERROR")
    assert (trace.info.request_preview, trace.info.response_preview) == ('{"day": "2026-11-20"}', None)
    assert trace.info.token_usage is None

    assert tree(trace) == [
        ("nightly report", "WORKFLOW", "ERROR", None),
        ("collect", "TASK", "UNSET", "nightly report"),
        ("read orders", "TASK", "UNSET", "collect"),
        ("read returns", "TASK", "UNSET", "collect"),
        ("summarise", "TASK", "UNSET", "nightly report"),
        ("ask for a summary", "TASK", "ERROR", "summarise"),
        ("ask for a summary", "TASK", "UNSET", "summarise"),
        ("publish", "TASK", "ERROR", "nightly report"),
    ]
    assert one(trace, "read orders").get_attribute("rows") == 1200
    assert [event.attributes for event in one(trace, "summarise").events] == [{"patience": 300}]
    failed = [span for span in trace.data.spans if span.status.status_code.value == "ERROR"]
    exceptions = {span.name: [event.attributes for event in span.events] for span in failed}
    assert {name: [event["exception.type"] for event in events] for name, events in exceptions.items()} == {
        "nightly report": ["ConnectionError"],
        "publish": ["ConnectionError"],
        "ask for a summary": ["TimeoutError"],
    }
    [raised] = exceptions["publish"]
    assert raised["exception.message"] == "mail.example.com refused the connection"
    assert 'raise ConnectionError("mail.example.com refused the connection")' in raised["exception.stacktrace"]
    assert one(trace, "publish").status.description == "ConnectionError: mail.example.com refused the connection"


def test_no_example_imports_mlflow():
    for example in EXAMPLES:
        imports = [line for line in example.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert imports
        assert not any("mlflow" in line for line in imports), example.name
