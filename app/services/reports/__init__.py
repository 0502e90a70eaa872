"""What a worker computes about a project, and pages only read."""
