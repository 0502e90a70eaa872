"""Projects: who belongs to them, what they ask, and how far they are."""
