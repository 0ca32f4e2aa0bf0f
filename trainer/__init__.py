"""The trainer: corpus and ratings become a better model, or do not."""
