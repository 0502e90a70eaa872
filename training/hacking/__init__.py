"""Signs that a policy earns its reward without deserving it."""
