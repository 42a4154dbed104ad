"""Processors that steer the flow, one file each, and the stages that need to know the flow.

Keys and defaults are the Collector's (internal/memorylimiter, processor/batchprocessor, groupbytraceprocessor). In
every config model `NOTES` says, key by key, what a key means here where the Collector means something else.
"""
