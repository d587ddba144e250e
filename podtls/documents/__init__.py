"""YAML and JSON as kubectl reads them, changed without touching what stays. Knows nothing of pods."""
