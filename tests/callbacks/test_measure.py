import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn

from litmus.callbacks.measure import evaluate

BATCHES = [(torch.randn(4, 3), torch.zeros(4, dtype=torch.long))] * 2


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen, self.dropout = nn.BatchNorm1d(3).eval(), nn.Dropout(0.9)

    def forward(self, images):
        return self.dropout(self.frozen(images))


@pytest.fixture
def trainer():
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)


def test_it_measures_in_eval_mode_without_gradients_and_restores_modes(trainer):
    network = Network()
    seen = evaluate(trainer, network, BATCHES, lambda logits, target: (logits, network.training, target))
    assert not any(training for _, training, _ in seen)
    assert torch.equal(seen[0][0], nn.BatchNorm1d(3).eval()(BATCHES[0][0]))  # nothing dropped, nothing renormalized
    assert not seen[0][0].requires_grad
    assert [network.training, network.frozen.training, network.dropout.training] == [True, False, True]


def test_modes_come_back_after_an_error_too(trainer):
    network = Network()
    with pytest.raises(ZeroDivisionError):
        evaluate(trainer, network, BATCHES, lambda logits, target: 1 / 0)
    assert network.training


def test_a_loader_that_draws_random_numbers_leaves_torchs_as_they_were(trainer):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    evaluate(trainer, Network(), ((torch.rand(2, 3), torch.zeros(2)) for _ in range(3)), lambda logits, target: None)
    assert torch.equal(torch.rand(1), expected)
