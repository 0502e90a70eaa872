"""How any stage runs: its folder, checkpoints, artifacts, metrics, optimiser, replicas, precision and pace."""
