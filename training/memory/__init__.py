"""What stages take of memory and time, by a model's shape and their settings: formulae, without torch."""
