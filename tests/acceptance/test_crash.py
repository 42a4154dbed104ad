"""kill -9 in the middle of a stream, and an MLflow that is away: nothing is lost, nothing is there twice."""

import threading

import pytest

from tests.polling import until_sync
from tests.samples.reading import span_ids
from tests.samples.sender import Sender, stream
from tests.servers.mlflow_servers import mlflow_server
from tests.servers.ports import free_port
from tests.servers.program import Ports, Program, configuration

pytestmark = pytest.mark.slow


@pytest.mark.timeout(420)
def test_kill_9_in_the_middle_of_20_000_spans(tracking_server, experiment, tmp_path):
    ports = Ports()
    config = configuration(ports, tmp_path, {"tracking_uri": tracking_server, "experiment": experiment})
    sender = Sender(ports.grpc, patience=300)
    batches = stream(traces=2500, size=8, per_request=50)
    with Program(config, tmp_path, ports) as program:
        sending = threading.Thread(target=sender.send_all, args=(batches,))
        sending.start()
        for share in (5_000, 12_000):
            until_sync(lambda share=share: len(sender.acknowledged) > share, seconds=120, what=f"{share} spans")
            program.kill()
            program.start()
        sending.join()
        assert len(sender.acknowledged) == 20_000
        assert sender.refused, "the kills were never felt: the test proves nothing"
        until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, seconds=240, what="an empty journal")

    found = span_ids(tracking_server, experiment)
    assert len(found) == len(set(found)), "a span is there twice"
    assert set(found) == sender.acknowledged


@pytest.mark.timeout(300)
def test_mlflow_down_for_a_minute_and_back(tmp_path):
    """Down from the start: the bridge is ready, takes everything in without a refusal, and delivers it later."""
    ports, port = Ports(), free_port()
    config = configuration(ports, tmp_path, {"tracking_uri": f"http://127.0.0.1:{port}", "experiment": "outage"})
    sender = Sender(ports.grpc)
    with Program(config, tmp_path, ports) as program:
        sender.send_all(stream(traces=200, size=5, per_request=40))
        assert sender.refused == []
        minute = "spanbridge_journal_oldest_age_seconds"
        until_sync(lambda: program.metric(minute) >= 60, seconds=120, what="a minute without MLflow")
        assert program.metric("spanbridge_delivery_retries") > 10
        assert program.ready()
        with mlflow_server(tmp_path, port=port) as uri:
            until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, seconds=90, what="delivery")
            found = span_ids(uri, "outage")
    assert sorted(found) == sorted(sender.acknowledged)
