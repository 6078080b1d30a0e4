from litmus.callbacks.before_others import BeforeOthers
from litmus.callbacks.calibration import Calibration
from litmus.callbacks.check_direction import CheckDirection
from litmus.callbacks.checkpoint import Checkpoint
from litmus.callbacks.confusion_matrix import ConfusionMatrix
from litmus.callbacks.early_stopping import EarlyStopping
from litmus.callbacks.epoch_seed import EpochSeed
from litmus.callbacks.first_layer_weights import FirstLayerWeights
from litmus.callbacks.frozen_features import FrozenFeatures
from litmus.callbacks.generalisation_gap import GeneralisationGap
from litmus.callbacks.grad_norm import GradNorm
from litmus.callbacks.learned_by_heart import LearnedByHeart
from litmus.callbacks.learning_rate import LearningRate
from litmus.callbacks.metrics_csv import MetricsCSV
from litmus.callbacks.progress import Progress
from litmus.callbacks.report_epoch import ReportEpoch
from litmus.callbacks.sample_images import SampleImages
from litmus.callbacks.sparsity import Sparsity
from litmus.callbacks.test_curve import TestCurve
from litmus.callbacks.validate_last import ValidateLast
from litmus.callbacks.weight_norm import WeightNorm
from litmus.callbacks.worst_mistakes import WorstMistakes

__all__ = [
    "BeforeOthers",
    "Calibration",
    "CheckDirection",
    "Checkpoint",
    "ConfusionMatrix",
    "EarlyStopping",
    "EpochSeed",
    "FirstLayerWeights",
    "FrozenFeatures",
    "GeneralisationGap",
    "GradNorm",
    "LearnedByHeart",
    "LearningRate",
    "MetricsCSV",
    "Progress",
    "ReportEpoch",
    "SampleImages",
    "Sparsity",
    "TestCurve",
    "ValidateLast",
    "WeightNorm",
    "WorstMistakes",
]
