"""Players: each answers prompts with completions."""
