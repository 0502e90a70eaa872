"""Policy optimisation against a reward model: rollouts, learners, the loop, constraints, the best policy."""
