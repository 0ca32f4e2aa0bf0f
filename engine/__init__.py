"""The engine: a job becomes a poem, many at a time."""

VERSION = "0.1.0"
"""Which Yuefu this is. All its processes are of one version, or of two while one is replaced."""
