"""Discord: the only place that knows its interactions, its errors and its library."""
