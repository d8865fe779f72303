"""Evaluates trained models: likelihoods by importance sampling, with their errors."""

from vae_lab.evaluation.estimate import evaluate
from vae_lab.evaluation.estimator import EvaluationModule

__all__ = ["EvaluationModule", "evaluate"]
