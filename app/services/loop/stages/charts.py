"""Curves that several stages draw alike."""

import math

from app.phrases import phrase
from app.services.loop.stages.stage import Chart

PER_TOKEN = phrase("nats per token")
COIN = math.log(2)

GRADIENT_NORM = Chart("gradient_norm", phrase("Gradient norm"), from_zero=True)
TRAINING_ACCURACY = Chart(
    "accuracy", phrase("Accuracy on training pairs"), from_zero=True, line=0.5, line_title=phrase("chance")
)
SAMPLE_LENGTH = Chart("length", phrase("Length of the policy's samples"), phrase("tokens"), from_zero=True)
PACE = (
    Chart("tokens_per_second", phrase("Tokens a second"), phrase("without padding"), from_zero=True),
    Chart("gemm_fraction", phrase("Use of the machine"), phrase("share of its fastest products"), from_zero=True),
)
