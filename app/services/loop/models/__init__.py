"""Model versions: their rows, their files, and where they are sent."""
