"""One file for each stage, with all that the application has to know of it, and the registry that finds it by name."""
