"""Evaluates trained models: likelihoods by importance sampling with their errors, and codes of every example."""

from vae_lab.evaluation.code_table import check_format
from vae_lab.evaluation.encoding import encode
from vae_lab.evaluation.estimate import evaluate
from vae_lab.evaluation.estimator import EvaluationModule

__all__ = ["EvaluationModule", "check_format", "encode", "evaluate"]
