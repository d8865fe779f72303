"""Learning-rate schedules over a whole run, stepped with the optimizer; each is called as f(optimizer, total_steps)."""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR


def cosine(optimizer: Optimizer, total_steps: int, final_lr: float = 0.0) -> LRScheduler:
    """From the optimizer's rate to ``final_lr`` along half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    return CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=final_lr)


def multistep(
    optimizer: Optimizer, total_steps: int, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1
) -> LRScheduler:
    """Times ``gamma`` at each milestone, a fraction of the run.

    Raises:
        ValueError: for milestones that do not rise within (0, 1).
    """
    if list(milestones) != sorted(milestones) or not all(0 < fraction < 1 for fraction in milestones):
        raise ValueError(f"scheduler.milestones={list(milestones)}: must be rising fractions of the run, within (0, 1)")
    return MultiStepLR(optimizer, [round(fraction * total_steps) for fraction in milestones], gamma)


def burda(optimizer: Optimizer, total_steps: int, stages: int = 8) -> LRScheduler:
    """Stage i = 0, 1, ... takes 3^i parts of the run at 10^(-i/7) of the rate (Burda et al. 2016, arXiv:1509.00519).

    Their run has 8 stages, 1 + 3 + ... + 3^7 = 3280 epochs.

    Raises:
        ValueError: for fewer than one stage.
    """
    if stages < 1:
        raise ValueError(f"scheduler.stages={stages}: must be at least 1")
    parts = [3**i for i in range(stages)]
    ends = [round(total_steps * sum(parts[: i + 1]) / sum(parts)) for i in range(stages - 1)]
    return MultiStepLR(optimizer, ends, gamma=10 ** (-1 / 7))
