"""Telegram: the only place that knows its updates, its errors and its library."""
