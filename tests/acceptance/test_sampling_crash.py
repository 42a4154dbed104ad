"""kill -9 at random points of tail sampling: what must be kept is whole, and what is not kept is not there at all."""

import random
import threading
import time

import pytest

from spanbridge.processors.tail_sampling import TailSampler, TailSamplingConfig
from tests.polling import until_sync
from tests.samples.reading import traces
from tests.samples.sampling_traffic import POLICIES, Sent, must_be_kept, wave
from tests.samples.sender import Sender
from tests.servers.ports import free_port
from tests.servers.program import Ports, Program, configuration

pytestmark = pytest.mark.slow

KILLS = 22
SAMPLING = {"decision_wait": "2s", "decision_wait_after_root_received": "1s", "policies": POLICIES}


def config_of_two(ports, other_port, tmp_path, uri, names):
    """30 % of the traffic has a receiver and a pipeline that samples, the rest those of its own, which don't."""
    config = configuration(ports, tmp_path, {"tracking_uri": uri, "experiment": names[0]})
    config["receivers"]["otlp/all"] = {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{other_port}"}}}
    config["processors"] = {"tail_sampling": SAMPLING, "groupbytrace": {}}
    config["exporters"]["mlflow/all"] = config["exporters"]["mlflow"] | {"experiment": names[1]}
    pipelines = config["service"]["pipelines"]
    pipelines["traces"]["processors"] = ["tail_sampling"]
    pipelines["traces/all"] = {"receivers": ["otlp/all"], "processors": ["groupbytrace"], "exporters": ["mlflow/all"]}
    return config


def found_in(uri, experiment):
    """Span ids by trace id, and the tags by trace id; a span that is there twice is an error."""
    ids, tags = {}, {}
    for trace in traces(uri, experiment):
        trace_id = trace.info.trace_id.removeprefix("tr-")
        found = [span.span_id for span in trace.data.spans]
        assert len(found) == len(set(found)), f"a span of {trace_id} is there twice"
        ids[trace_id], tags[trace_id] = set(found), trace.info.tags
    return ids, tags


@pytest.mark.timeout(900)
def test_kill_9_at_random_points_of_tail_sampling(tracking_server, experiment, tmp_path):
    chance = random.Random(4)
    ports, other_port = Ports(), free_port()
    names = [f"{experiment}, sampled", f"{experiment}, all"]
    config = config_of_two(ports, other_port, tmp_path, tracking_server, names)
    sampled, rest = Sent(), Sent()
    senders = [Sender(ports.grpc, patience=800), Sender(other_port, patience=800)]
    with Program(config, tmp_path, ports) as program:
        for _ in range(KILLS):
            requests = wave(chance, 45, sampled), wave(chance, 105, rest)
            sending = [
                threading.Thread(target=sender.send_all, args=(batches,))
                for sender, batches in zip(senders, requests, strict=True)
            ]
            for thread in sending:
                thread.start()
            longest = chance.choice([0.2, 3.5])  # the random point: while it is sent, or waits, is decided, delivered
            time.sleep(chance.uniform(0.01, longest))
            program.kill()
            program.start(seconds=60)
            for thread in sending:
                thread.join()
        until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, seconds=240, what="empty journals")

    assert any(sender.refused for sender in senders), "the kills were never felt: the test proves nothing"
    for sender, sent in zip(senders, (sampled, rest), strict=True):
        assert sender.acknowledged == {(trace, span) for trace, ids in sent.ids.items() for span in ids}

    found, _ = found_in(tracking_server, names[1])
    assert found == rest.ids

    found, tags = found_in(tracking_server, names[0])
    sampler = TailSampler(TailSamplingConfig.model_validate(SAMPLING), time.monotonic)
    decisions = {trace.trace_id.hex(): sampler.decide(trace) for trace in sampled.whole}
    must = {trace.trace_id.hex() for trace in sampled.whole if must_be_kept(trace)}
    assert len(must) > 20
    assert {trace_id: found.get(trace_id) for trace_id in must} == {
        trace_id: sampled.ids[trace_id] for trace_id in must
    }
    halves = {trace_id for trace_id, ids in found.items() if ids != sampled.ids[trace_id]}
    assert not halves
    assert found.keys() == {trace_id for trace_id, decision in decisions.items() if decision.sampled}
    for trace_id in found:
        assert tags[trace_id]["sampling.policy"] == decisions[trace_id].policy
        assert float(tags[trace_id]["sampling.weight"]) == pytest.approx(decisions[trace_id].weight)
