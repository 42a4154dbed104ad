"""`tail_sampling`: keeps or drops whole traces by policies, once they are assembled.

Policies, their keys and the order of decision are those of contrib's tailsamplingprocessor; assembling the traces,
waiting, counting and remembering decisions for late spans are the caller's. `TailSampler.decide` gives a `Decision`,
`mark` writes it on a kept trace.

**Totals.** Every kept trace has a weight: the number of traces it stands for. It is (adjusted count that the trace
arrived with) / (probability of the decision), as told in `outcome`; a limit's traces also stand for those that it
turned away, as told in `limits`. Sums of weights estimate what was sent without bias as far as draws go, and exactly,
but for the last few, as far as limits go.
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
