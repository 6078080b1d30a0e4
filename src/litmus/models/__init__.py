from litmus.models.cnn import CNN
from litmus.models.mlp import MLP

__all__ = ["CNN", "MLP"]
