"""Muon against torch's own, against singular values, and by hand where it is plain SGD."""

import pytest
import torch
from torch import nn

from fer_core.models import create_model
from fer_core.train.muon import Muon, orthogonalised
from fer_core.train.optimizer import make_optimizer
from tests.toy import toy_config

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stepped(weight: torch.Tensor, gradients, *, orthogonal: bool = True, **settings) -> torch.Tensor:
    """Where a weight is after a step for each gradient."""
    p = nn.Parameter(weight.clone(memory_format=torch.preserve_format))
    group = {"params": [p], "orthogonal": orthogonal}
    optimizer = Muon([group], **{"lr": 0.1, "dtype": torch.float32, **settings})
    for gradient in gradients:
        p.grad = gradient.clone(memory_format=torch.preserve_format)
        optimizer.step()
    return p.detach()


# --- orthogonal matrices --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 8, 72), (3, 72, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_come_near_1_and_singular_vectors_stay(shape, dtype):
    matrices = 100 * drawn(*shape)
    found = orthogonalised(matrices, dtype).float()
    assert found.shape == shape
    for one, before in zip(found, matrices, strict=True):
        u, values, v = torch.linalg.svd(before, full_matrices=False)
        turned = u.mT @ one @ v.mT  # in the matrix's own axes only a diagonal is left
        own = values > 0.05 * values.max()  # the smallest values are still rising after five rounds
        assert ((turned.diagonal()[own] > 0.6) & (turned.diagonal()[own] < 1.3)).all()
        assert (turned - turned.diagonal().diag()).abs().max() < (1e-3 if dtype == torch.float32 else 0.1)


def test_the_scale_of_a_matrix_does_not_matter_and_zero_stays_zero():
    matrix = drawn(1, 4, 9)
    large, tiny = (orthogonalised(scale * matrix, torch.float32) for scale in (1, 1e-3))
    assert torch.allclose(large, tiny, atol=1e-3)
    assert (orthogonalised(torch.zeros(1, 4, 9)) == 0).all()


# --- steps of filters and matrices ----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has a Muon of its own from 2.9 on")
@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_matrices_take_the_steps_of_torchs_muon(shape):
    start, gradients = drawn(*shape), [drawn(*shape, seed=k) for k in (1, 2, 3)]
    theirs = nn.Parameter(start.clone())
    reference = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.2, nesterov=True)
    for gradient in gradients:
        theirs.grad = gradient.clone()
        reference.step()
    ours = stepped(start, gradients, momentum=0.9, weight_decay=0.2, dtype=torch.bfloat16)
    assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()  # its products are in bfloat16


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_filters_move_as_matrices_of_a_row_each(memory_format):
    start, gradient = (drawn(8, 4, 3, 3, seed=k).contiguous(memory_format=memory_format) for k in (1, 2))
    found = stepped(start, [gradient], weight_decay=0.5)
    flat = stepped(start.flatten(1), [gradient.flatten(1)], weight_decay=0.5)
    assert torch.allclose(found.flatten(1), flat, atol=1e-6)


def test_filters_of_one_shape_are_moved_as_if_each_were_alone():
    weights, gradients = ([drawn(6, 3, 3, 3, seed=k + s) for k in range(2)] for s in (0, 10))
    params = [nn.Parameter(one.clone()) for one in weights]
    for p, gradient in zip(params, gradients, strict=True):
        p.grad = gradient
    Muon([{"params": params, "orthogonal": True}], lr=0.1, dtype=torch.float32).step()
    for p, weight, gradient in zip(params, weights, gradients, strict=True):
        assert torch.allclose(p, stepped(weight, [gradient]), atol=1e-6)


def test_a_weight_without_a_gradient_stays():
    p, still = nn.Parameter(drawn(4, 4)), nn.Parameter(drawn(4, 4))
    p.grad = drawn(4, 4, seed=1)
    Muon([{"params": [p, still], "orthogonal": True}], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(still, drawn(4, 4)) and not torch.equal(p, drawn(4, 4))


# --- the rest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "orthogonal"),
    [((8, 1, 3, 3), True), ((8,), True), ((2, 3, 4), True), ((8, 4, 3, 3), False)],
    ids=["one input channel", "bias", "tokens", "not marked"],
)
def test_what_is_not_made_orthogonal_takes_nesterovs_steps_at_three_times_the_rate(shape, orthogonal):
    ones = torch.ones(shape)
    found = stepped(0 * ones, [ones, ones], orthogonal=orthogonal, lr=0.1, momentum=0.9)
    # sums of gradients 1, then 1.9; each step is 3 * 0.1 * (gradient + 0.9 * sum)
    assert torch.allclose(found, -0.3 * (1.9 + 1 + 0.9 * 1.9) * ones)
    # decay is apart from the gradient: 3 * 0.1 * 0.5 of the weight
    assert torch.allclose(stepped(ones, [0 * ones], orthogonal=orthogonal, weight_decay=0.5), 0.85 * ones)


def test_only_the_backbone_is_orthogonal_and_the_head_is_not():
    model = create_model("small")
    optimizer = make_optimizer(model, toy_config(optimizer="muon", lr=0.1, weight_decay=0.0))
    for p in model.parameters():
        p.grad = drawn(*p.shape)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.step()
    by_sgd = {
        name for name, p in model.named_parameters() if torch.allclose(p, before[name] - 0.3 * 1.9 * p.grad, atol=1e-5)
    }
    assert by_sgd == {name for name, p in model.named_parameters() if p.ndim == 1} | {
        "net.stem.0.weight",
        "net.head.weight",
    }
