"""From a `Config` to the running program; the steps are listed in `spanbridge.collector.config`."""
