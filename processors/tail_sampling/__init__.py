"""Keeps or drops whole traces by policies, once they are assembled. See README.md here.

Assembling the traces, waiting, counting and remembering decisions for late spans are the caller's part.
`TailSampler.decide` returns a `Decision`, and `mark` writes it on a kept trace.
"""

from spanbridge.processors.sampling_weight import POLICY_TAG, WEIGHT_TAG
from spanbridge.processors.tail_sampling.config import DecisionCacheConfig, TailSamplingConfig
from spanbridge.processors.tail_sampling.decision import Decision, mark
from spanbridge.processors.tail_sampling.sampler import OnPolicy, TailSampler

__all__ = [
    "POLICY_TAG",
    "WEIGHT_TAG",
    "Decision",
    "DecisionCacheConfig",
    "OnPolicy",
    "TailSampler",
    "TailSamplingConfig",
    "mark",
]
