"""What the fork server imports before it forks the first writer, so that all of them share it: 200 MB of mlflow.

For `multiprocessing.set_forkserver_preload` alone: the import sets up the process that does it, and so its forks.
"""

from __future__ import annotations

import contextlib
import os
import signal

from spanbridge.collector.exporters.mlflow.database.tracking_database import import_store
from spanbridge.collector.telemetry import allocator

# What a terminal, or a service manager, sends to all processes of a program is for the program alone: it ends in order,
# and its writers with it. One that ended first would have to be started again for what is still to be written.
os.setsid()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
allocator.keep_little()
with contextlib.suppress(ImportError):  # each send will tell
    import_store()
allocator.give_back()
