"""The engine: a job becomes a poem, many at a time."""
