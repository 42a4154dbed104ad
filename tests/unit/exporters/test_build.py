"""What the builders of exporters say of how an exporter wants to be fed: from its section alone."""

import pytest

from spanbridge.collector.config.components import component_of
from spanbridge.collector.exporters import SendLimits
from spanbridge.collector.exporters.config import RetryConfig
from spanbridge.collector.exporters.mlflow.build import SENDS

SLOW = {"initial_interval": "7s", "max_interval": "9s"}
QUEUE = {"num_consumers": 3}
FORWARD = SendLimits(max_traces=8192, max_spans=8192)

SECTIONS = [
    ("debug", {"sending_queue": QUEUE}, FORWARD, RetryConfig()),
    (
        "otlp_grpc",
        {"endpoint": "localhost:1", "tls": {"insecure": True}, "sending_queue": QUEUE, "retry_on_failure": SLOW},
        FORWARD,
        RetryConfig(initial_interval="7s", max_interval="9s"),
    ),
    (
        "otlp_http",
        {"endpoint": "http://localhost:1", "sending_queue": QUEUE, "retry_on_failure": SLOW},
        FORWARD,
        RetryConfig(initial_interval="7s", max_interval="9s"),
    ),
    (
        "mlflow",
        {"tracking_uri": "http://localhost:1", "sending_queue": QUEUE, "retry_on_failure": SLOW},
        SendLimits(max_traces=64, max_spans=2048),
        RetryConfig(initial_interval="7s", max_interval="9s"),
    ),
]


@pytest.mark.parametrize(("name", "section", "limits", "retry"), SECTIONS, ids=[section[0] for section in SECTIONS])
def test_an_exporter_brings_its_limits_consumers_and_pauses(name, section, limits, retry):
    component = component_of("exporter", name)
    made = component.build(component.config.model_validate(section), {})
    made.exporter.close()
    assert (made.limits, made.num_consumers, made.retry_on_failure) == (limits, 3, retry)


def test_a_database_takes_more_at_a_time_than_a_server_and_sqlite_most():
    assert SENDS["sqlite"].max_traces > SENDS["postgresql"].max_traces > 64
    assert SENDS["mysql"] == SENDS["postgresql"]
