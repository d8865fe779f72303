from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from linear_gaussian import LinearGaussian, random_model, within
from torch import Tensor
from torch.distributions import Independent, Laplace

from vae_lab.core import ElboTerms, LatentVariableModel
from vae_lab.objectives import Iwae, IwaeDreg, Objective


def encoder_gradients(objective: Objective, terms: ElboTerms) -> Tensor:
    """The gradient of each example's loss by the mean and the standard deviation of its q, (B, 2 D)."""
    q = terms.levels[0].q.base_dist
    gradients = torch.autograd.grad(objective(terms, 0).value, (q.loc, q.scale))
    return len(q.loc) * torch.cat(gradients, dim=-1)


def repeated(numbers: LinearGaussian, model: LatentVariableModel, times: int, num_samples: int) -> ElboTerms:
    """The terms of one example, many times over: a row for each draw."""
    torch.manual_seed(1)
    x, y = numbers.data(1)
    return model(x.expand(times, -1), None if y is None else y.expand(times), num_samples)


@pytest.mark.parametrize("num_samples", [1, 2, 20])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_exact_posterior_has_no_gradient_whatever_was_drawn(num_samples: int, classes: int) -> None:
    numbers = random_model(1, classes=classes)
    model = numbers.model()
    x, y = numbers.data(6)
    doubly = encoder_gradients(IwaeDreg(num_samples), model(x, y, num_samples))
    plain = encoder_gradients(Iwae(num_samples), model(x, y, num_samples))
    assert doubly.abs().max() < 1e-12
    assert plain.abs().max() > 0.1


@pytest.mark.parametrize("num_samples", [1, 5])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_value_and_the_gradient_of_the_generative_model_are_those_of_iwae(num_samples: int, classes: int) -> None:
    numbers = random_model(2, classes=classes)
    model = numbers.model(widen=[2.0], shift=0.5)
    x, y = numbers.data(6)
    generative = [*model.likelihood.parameters(), *model.prior.parameters()]
    results = []
    for objective in (Iwae(num_samples), IwaeDreg(num_samples)):
        torch.manual_seed(0)
        value = objective(model(x, y, num_samples), 0).value
        results.append([value, *torch.autograd.grad(value, generative)])
    for plain, doubly in zip(*results, strict=True):
        assert torch.allclose(plain, doubly, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_samples", [1, 2, 8])
def test_the_mean_gradient_of_the_encoder_is_that_of_iwae(num_samples: int) -> None:
    """Draw by draw at the same noise, so that the two estimates differ by as little as they can."""
    numbers = random_model(3)
    model = numbers.model(widen=[1.7], shift=0.6)
    plain, doubly = (
        encoder_gradients(objective, repeated(numbers, model, 40_000, num_samples))
        for objective in (Iwae(num_samples), IwaeDreg(num_samples))
    )
    assert (plain - doubly).abs().max() > 0.1
    assert doubly.mean(0).abs().min() > 0.005  # a factor would be seen
    assert within(plain - doubly, torch.zeros(plain.shape[1]).double())


def test_many_samples_leave_a_signal_in_the_gradient() -> None:
    """The relative error of the plain gradient grows with K (Rainforth et al. 2018), and this one's shrinks."""
    numbers = random_model(3)
    model = numbers.model(widen=[1.7], shift=0.6)

    def relative_error(objective: Objective) -> Tensor:
        gradients = encoder_gradients(objective, repeated(numbers, model, 2000, objective.num_samples))
        return gradients.std(0).norm() / gradients.mean(0).norm()

    few, many = relative_error(IwaeDreg(4)), relative_error(IwaeDreg(256))
    assert many < few / 3
    assert relative_error(Iwae(256)) > 10 * many


def test_it_can_be_evaluated_without_a_gradient() -> None:
    numbers = random_model(4)
    with torch.no_grad():
        terms = numbers.model(widen=[2.0])(*numbers.data(3), 5)
        assert torch.allclose(IwaeDreg()(terms, 0).value, Iwae()(terms, 0).value, atol=1e-12)


def test_a_posterior_that_is_not_gaussian_is_refused() -> None:
    numbers = random_model(5)
    terms = numbers.model()(*numbers.data(3), 2)
    (level,) = terms.levels
    q = Independent(Laplace(level.q.base_dist.loc, level.q.base_dist.scale), 1)
    with pytest.raises(ValueError, match="posterior of independent Gaussians"):
        IwaeDreg(2)(replace(terms, levels=(replace(level, q=q),)), 0)


def test_a_density_that_sampling_has_computed_already_carries_no_gradient_either() -> None:
    numbers = random_model(2)
    model = numbers.model(widen=[2.0], shift=0.5)
    torch.manual_seed(0)
    terms = model(*numbers.data(6), 5)
    (level,) = terms.levels
    known = replace(terms, levels=(replace(level, log_q=level.q.log_prob(level.z)),))
    expected = encoder_gradients(IwaeDreg(5), model_terms(model, numbers))
    assert torch.allclose(encoder_gradients(IwaeDreg(5), known), expected, atol=1e-12)


def model_terms(model: LatentVariableModel, numbers: LinearGaussian) -> ElboTerms:
    torch.manual_seed(0)
    return model(*numbers.data(6), 5)
