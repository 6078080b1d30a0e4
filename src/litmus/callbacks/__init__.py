from litmus.callbacks.checkpoint import Checkpoint
from litmus.callbacks.early_stopping import EarlyStopping
from litmus.callbacks.epoch_seed import EpochSeed
from litmus.callbacks.generalisation_gap import GeneralisationGap
from litmus.callbacks.learned_by_heart import LearnedByHeart
from litmus.callbacks.learning_rate import LearningRate
from litmus.callbacks.metrics_csv import MetricsCSV
from litmus.callbacks.progress import Progress
from litmus.callbacks.validate_last import ValidateLast

__all__ = [
    "Checkpoint",
    "EarlyStopping",
    "EpochSeed",
    "GeneralisationGap",
    "LearnedByHeart",
    "LearningRate",
    "MetricsCSV",
    "Progress",
    "ValidateLast",
]
