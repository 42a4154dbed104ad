"""The experiments that a tenant may write to. Pure.

`allow_experiments` of a token are globs. A plain one is matched against the experiment's name, `id:12` against its id:
which experiment an id stands for is not known here, so a name allows no id. An empty list binds a tenant to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from spanbridge.collector.errors import Forbidden
from spanbridge.processors.types import Context

_BY_ID = "id:"


def may_write(allow: Sequence[str], experiment: str, *, by_id: bool) -> bool:
    """Return whether a tenant may write to an experiment.

    Args:
        allow: The globs that the tenant is bound to, at least one: without any it may write everywhere, which is the
            caller's to see.
        experiment: Its name, or its id.
        by_id: Whether it is the id.
    """
    if by_id:
        return any(fnmatchcase(experiment, glob[len(_BY_ID) :]) for glob in allow if glob.startswith(_BY_ID))
    return any(fnmatchcase(experiment, glob) for glob in allow if not glob.startswith(_BY_ID))


def check_headers(context: Context) -> None:
    """Check where a client's headers lead; what its spans and the exporter say is checked when it is known.

    A bound tenant writes in the exporter's own workspace, as experiments of one name may be in many.

    Args:
        context: What the request came with; `allow_experiments` is of its credentials.

    Raises:
        Forbidden: The tenant may not write there.
    """
    allow = context.allow_experiments
    if not allow:
        return
    if context.workspace:
        raise Forbidden("these credentials may not name a workspace")
    for experiment, by_id in ((context.experiment_id, True), (context.experiment_name, False)):
        if experiment and not may_write(allow, experiment, by_id=by_id):
            raise Forbidden("these credentials may not write to that experiment")
