"""People at work: assignments, what they state, judgements, checks and quality."""
