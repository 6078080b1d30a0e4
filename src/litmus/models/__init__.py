"""Networks and the Classifier that trains them: one class per model. Losses, penalties and data are elsewhere."""

from litmus.models.cnn import CNN
from litmus.models.mlp import MLP
from litmus.models.resnet import ResNetFineTuner

__all__ = ["CNN", "MLP", "ResNetFineTuner"]
