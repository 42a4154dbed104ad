"""A question that a model can only answer with a tool: it asks for the call, the program runs it, the model answers.

The first span, `weather question`, says nothing of itself: MLflow shows the question and the answer of the model calls.
"""

import json

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

provider = TracerProvider(resource=Resource.create({"service.name": "tool-call"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = provider.get_tracer("tool_call")

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city, now.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def chat(messages: list[dict], reply: dict, tokens: tuple[int, int]) -> dict:
    """Ask a model. The model is made up and says `reply`: put your client's call in its place."""
    request = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.tool.definitions": json.dumps([WEATHER]),
        "gen_ai.input.messages": json.dumps(messages),
    }
    with tracer.start_as_current_span("chat claude-sonnet-4-5", kind=SpanKind.CLIENT, attributes=request) as span:
        span.set_attribute("gen_ai.output.messages", json.dumps([reply]))
        span.set_attribute("gen_ai.usage.input_tokens", tokens[0])
        span.set_attribute("gen_ai.usage.output_tokens", tokens[1])
        return reply


def get_weather(call_id: str, city: str) -> dict:
    """The tool."""
    call = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get_weather",
        "gen_ai.tool.call.id": call_id,
        "gen_ai.tool.call.arguments": json.dumps({"city": city}),
    }
    with tracer.start_as_current_span("execute_tool get_weather", attributes=call) as span:
        weather = {"city": city, "sky": "clear", "celsius": 21}
        span.set_attribute("gen_ai.tool.call.result", json.dumps(weather))
        return weather


def said(role: str, **part: object) -> dict:
    """A message of one part."""
    return {"role": role, "parts": [part]}


with tracer.start_as_current_span("weather question"):
    question = said("user", type="text", content="Do I need an umbrella in Lisbon?")
    wish = said("assistant", type="tool_call", id="call-1", name="get_weather", arguments={"city": "Lisbon"})
    chat([question], wish, tokens=(80, 18))
    result = said("tool", type="tool_call_response", id="call-1", response=get_weather("call-1", "Lisbon"))
    answer = said("assistant", type="text", content="No, the sky over Lisbon is clear.")
    print(chat([question, wish, result], answer, tokens=(120, 11))["parts"][0]["content"])
provider.shutdown()  # sends what is still here
