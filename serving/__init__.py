"""How an app of ours runs behind its edge proxy."""
