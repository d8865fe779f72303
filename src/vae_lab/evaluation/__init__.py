"""What a trained model is worth: likelihoods by importance sampling, with their errors."""

from vae_lab.evaluation.estimate import Settings, evaluate
from vae_lab.evaluation.estimator import EvaluationModule

__all__ = ["EvaluationModule", "Settings", "evaluate"]
