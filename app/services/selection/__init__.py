"""Which comparisons teach most: a Bayesian head on features of responses, and the rules that ask it. NumPy alone."""
