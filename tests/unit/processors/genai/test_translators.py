"""What MLflow's own translators set is equal in ours, or is in the table below with the reason why it differs.

Each span of every capture and golden file goes through MLflow's translation twice: as it came, and after our stages.
Whatever the first has, the second must have too, with the same value; of an object, ours may have more.
"""

from __future__ import annotations

import json
import logging

import pytest

from spanbridge.processors.genai import GenAi, GenAiConfig, GenAiTrace
from spanbridge.processors.types import Batch, Trace, spans
from tests.paths import DATA
from tests.unit.processors.genai.test_golden import NAMES, normalized, with_base64_ids

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

from google.protobuf import json_format  # noqa: E402
from mlflow.entities.span import Span  # noqa: E402
from mlflow.tracing.otel.translation import translate_span_when_storing  # noqa: E402

logging.getLogger("mlflow").setLevel(logging.ERROR)

CAPTURES = sorted(path.name for path in (DATA / "captures").glob("*.pb") if ".logs." not in path.name)
OURS_ALONE = "mlflow.traceRequestId"


def _is_messages(value, key):
    return isinstance(value, dict) and isinstance(value.get(key), list)


def _as_chat(theirs, ours):
    """Ours is chat, and every text of theirs is in it."""
    shown = json.dumps(ours, ensure_ascii=False)
    is_chat = _is_messages(ours, "messages") or _is_messages(ours, "choices")
    return is_chat and all(json.dumps(text, ensure_ascii=False)[1:-1] in shown for text in _texts(theirs))


def _texts(node, key="content"):
    if isinstance(node, str):
        return [node] if key in {"content", "text", "prompt", "input"} else []
    if isinstance(node, dict):
        return [text for name, item in node.items() for text in _texts(item, name)]
    return [text for item in node for text in _texts(item, key)] if isinstance(node, list) else []


def _documents(theirs, ours):
    return isinstance(ours, list) and all("page_content" in item for item in ours)


def _decoded_items(theirs, ours):
    texts = isinstance(theirs, list) and all(isinstance(item, str) for item in theirs)
    return texts and [_read(item) for item in theirs] == ours


def _embedding_texts(theirs, ours):
    return isinstance(ours, dict) and theirs in ours.get("input", [])


def _openai_tools(theirs, ours):
    return [tool.get("function", tool)["name"] for tool in theirs] == [tool["function"]["name"] for tool in ours]


def _stated_cost(theirs, ours):
    return isinstance(ours, dict) and ours["total_cost"] > 0


def _cached_cost(theirs, ours):
    return isinstance(ours, dict) and ours["total_cost"] < theirs["total_cost"]


def _hidden(theirs, ours):
    return ours is None


DIFFERENCES = [
    # attribute, MLflow's value, ours, when ours is right, why
    (
        "mlflow.spanInputs",
        _as_chat,
        "a list or an SDK's own object gives a raw preview and often no chat view; a system prompt apart is left out",
    ),
    (
        "mlflow.spanOutputs",
        _as_chat,
        "as for inputs; and tool calls beside a text are not shown",
    ),
    ("mlflow.spanInputs", _embedding_texts, "legacy OpenLLMetry: only the first of several texts is kept"),
    ("mlflow.spanInputs", _decoded_items, "Vercel: the texts are left as JSON within JSON"),
    ("mlflow.spanOutputs", _decoded_items, "Vercel: the vectors are left as JSON within JSON"),
    ("mlflow.spanOutputs", _documents, "documents without `page_content` are not listed as documents"),
    ("mlflow.chat.tools", _openai_tools, "semconv's flat definitions are not shown by the UI, which wants OpenAI's"),
    ("mlflow.llm.cost", _stated_cost, "the span states its cost, which is kept instead of a price of MLflow's table"),
    ("mlflow.llm.cost", _cached_cost, "cached tokens of keys that MLflow does not read are priced as full ones"),
    (
        "mlflow.chat.tokenUsage",
        _hidden,
        "the roll-up does not agree with the calls below it, and would hide them from the trace's sum",
    ),
    (
        "mlflow.llm.cost",
        _hidden,
        "follows the roll-up's usage",
    ),
    (
        "mlflow.spanType",
        lambda theirs, ours: (
            (theirs, ours)
            in {
                ("LLM", "EMBEDDING"),  # legacy OpenLLMetry embeddings: any span with a request model is LLM
                ("EMBEDDING", "RETRIEVER"),  # LangSmith writes operation embeddings on retrievers
                ("LLM", "RETRIEVER"),  # retrieval with an embedding model
                ("LLM", "CHAIN"),  # plan with a model
                ("LLM", "CHAT_MODEL"),  # legacy OpenLLMetry says chat
            }
        ),
        "the request model decides before what the span says of itself",
    ),
    (
        "mlflow.llm.provider",
        lambda theirs, ours: theirs.startswith(ours + "."),
        "Vercel's `openai.chat` is a model class: one provider under several names",
    ),
    (
        "mlflow.message.format",
        lambda theirs, ours: theirs in {"vercel_ai", "gemini", "voltagent"} and ours in {None, "openai"},
        "the format tells the chat view to expect the SDK's own shape, and ours is OpenAI's",
    ),
]


def translated(span):
    """The `mlflow.*` attributes that MLflow stores for a span, read as JSON as often as they are JSON."""
    stored = translate_span_when_storing(Span.from_otel_proto(span))["attributes"]
    return {key: _read(value) for key, value in stored.items() if key.startswith("mlflow.") and key != OURS_ALONE}


def _read(value):
    while isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            break
    return value


def agrees(theirs, ours):
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return all(ours.get(key) == value for key, value in theirs.items())
    return theirs == ours


def unexplained(before, after):
    """What MLflow's translators set that ours does not have, and no difference explains."""
    theirs_by_id = {span.span_id: translated(span) for span in spans(before)}
    for span in spans(after):
        ours = translated(span)
        for key, theirs in theirs_by_id[span.span_id].items():
            if agrees(theirs, ours.get(key)):
                continue
            if not any(name == key and right(theirs, ours.get(key)) for name, right, _ in DIFFERENCES):
                yield f"{span.name} {key}: MLflow {theirs!r}, ours {ours.get(key)!r}"


@pytest.mark.parametrize("name", CAPTURES)
def test_captures_agree_with_mlflow_or_differ_for_a_reason(name):
    before = Batch.FromString((DATA / "captures" / name).read_bytes())
    after = GenAi(GenAiConfig())(Batch.FromString(before.SerializeToString()))
    GenAiTrace(GenAiConfig())(Trace(b"\1" * 16, after))

    assert list(unexplained(before, after)) == []


@pytest.mark.parametrize("name", NAMES)
def test_golden_files_agree_with_mlflow_or_differ_for_a_reason(name):
    document = json.loads((DATA / "genai" / f"{name}.in.json").read_text())
    before = json_format.ParseDict(with_base64_ids(document), Batch())

    assert list(unexplained(before, normalized(name).batch)) == []


def test_every_reason_is_used():
    """A difference that no longer occurs must leave the table."""
    used = set()
    for name in NAMES:
        document = json.loads((DATA / "genai" / f"{name}.in.json").read_text())
        before = json_format.ParseDict(with_base64_ids(document), Batch())
        used |= _used(before, normalized(name).batch)
    for name in CAPTURES:
        before = Batch.FromString((DATA / "captures" / name).read_bytes())
        after = GenAi(GenAiConfig())(Batch.FromString(before.SerializeToString()))
        used |= _used(before, GenAiTrace(GenAiConfig())(Trace(b"\1" * 16, after)).batch)

    assert used == set(range(len(DIFFERENCES)))


def _used(before, after):
    theirs_by_id = {span.span_id: translated(span) for span in spans(before)}
    return {
        number
        for span in spans(after)
        for key, theirs in theirs_by_id[span.span_id].items()
        if not agrees(theirs, (ours := translated(span)).get(key))
        for number, (name, right, _) in enumerate(DIFFERENCES)
        if name == key and right(theirs, ours.get(key))
    }
