"""With `redaction` in the pipeline no planted secret is anywhere: not in the journal's bytes, not in MLflow's."""

import json
from pathlib import Path

from spanbridge.processors.attributes import put
from spanbridge.processors.types import Batch
from tests.polling import until_sync
from tests.samples.sender import Sender
from tests.samples.spans import trace_batch
from tests.servers.ports import free_port
from tests.servers.program import Ports, Program, configuration

SECRETS = {
    "email": "jane.roe@mail.example.org",
    "card": "4111 1111 1111 1111",
    "openai": "sk-proj-" + "a1B2c3D4e5F6g7H8" * 3,
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "iban": "DE89370400440532013000",
    "ssn": "078-05-1120",
}


def planted() -> Batch:
    """A trace with every secret in every place that holds text."""
    batch = trace_batch(size=3)
    resource = batch.resource_spans[0]
    scope = resource.scope_spans[0]
    for name, secret in SECRETS.items():
        put(resource.resource.attributes, f"resource.{name}", f"is {secret}")
        put(scope.scope.attributes, f"scope.{name}", secret)
        for span in scope.spans:
            put(span.attributes, f"plain.{name}", f"call {secret} now")
            put(span.attributes, f"nested.{name}", {"deep": [{"er": f"<{secret}>"}]})
            messages = [{"role": "user", "content": json.dumps({"inside": secret})}]
            put(span.attributes, "gen_ai.operation.name", "chat")
            put(span.attributes, "gen_ai.input.messages", json.dumps(messages))
            put(span.events.add(name=f"event {secret}").attributes, "x", secret)
            put(span.links.add(trace_id=b"t" * 16, span_id=b"s" * 8).attributes, "x", secret)
            span.status.message = f"{span.status.message} {secret}"
            span.name = f"{span.name} {secret}"
    return batch


def everything_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_planted_secret_survives_on_any_disk(tmp_path):
    """First with MLflow away, so that the journal holds what was accepted, then with a store of our own."""
    ports, processors = Ports(), {"genai": {}, "redaction": {"detectors": "all"}, "groupbytrace": {}, "tag_schema": {}}
    away = {"tracking_uri": f"http://127.0.0.1:{free_port()}", "experiment": "secrets"}
    with Program(configuration(ports, tmp_path, away, processors=processors), tmp_path, ports) as program:
        Sender(ports.grpc).send_all([planted() for _ in range(5)])
        until_sync(lambda: program.metric("spanbridge_delivery_retries") > 1, what="a vain try")
        program.kill()
    held = everything_below(tmp_path / "journal")
    assert b"plain.email" in held, "the journal does not hold what was accepted: the test proves nothing"

    store = tmp_path / "store"
    store.mkdir()
    here = {"tracking_uri": f"sqlite:///{store / 'mlflow.db'}", "experiment": "secrets"}
    with Program(configuration(ports, tmp_path, here, processors=processors), tmp_path, ports) as program:
        until_sync(lambda: program.metric("otelcol_exporter_sent_spans") == 15, seconds=90, what="delivery")
        assert program.metric("spanbridge_redacted_values") == 0, "what was redacted once was redacted again"
        program.stop()
    written = everything_below(store)
    assert b"plain.email" in written

    for name, secret in SECRETS.items():
        for place, content in (("journal", held), ("store", written), ("log", program.log.read_bytes())):
            assert secret.encode() not in content, f"{name} is in the {place}"
            assert json.dumps(secret)[1:-1].encode() not in content, f"{name} is in the {place}"
