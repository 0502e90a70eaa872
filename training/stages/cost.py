"""The cost model: a reward model of harmlessness with its sign turned, by the reward model's own way."""

from training.stages.reward import run as run
