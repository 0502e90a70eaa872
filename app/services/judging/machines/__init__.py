"""Judges that are models: who they are, what they are asked, what they said, and how far people say the same."""
