"""A poem becomes a picture: `Card` says what stands on it, `Easel` draws it beside the event loop.

Nothing here knows a platform. Where a card cannot be drawn, a `CardError` says why, and the caller
sends the poem as text.
"""
