"""The rules of regulated verse: forms, tones, rhymes, scripts, templates and the checker."""
