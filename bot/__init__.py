"""The bot: an update becomes a job, and a result becomes a message."""
