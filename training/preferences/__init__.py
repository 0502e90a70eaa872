"""What people said of responses, as models learn it, and how far a model agrees with it."""
