"""The loop: rounds, their runs, the models that they make, gates and selection."""
