"""Policies learnt straight from judgements, held near a reference whose log-probabilities are kept."""
