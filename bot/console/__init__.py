"""The console: the same commands in a terminal, without any account."""
