"""One file for each stage, from its settings to what it publishes, and the registry that finds it by name."""
