"""Callbacks that conf/callbacks turns on or off. The callbacks of every run are in litmus.training."""

from litmus.callbacks.calibration import Calibration
from litmus.callbacks.confusion_matrix import ConfusionMatrix
from litmus.callbacks.early_stopping import EarlyStopping
from litmus.callbacks.first_layer_weights import FirstLayerWeights
from litmus.callbacks.frozen_features import FrozenFeatures
from litmus.callbacks.generalization_gap import GeneralizationGap
from litmus.callbacks.grad_norm import GradNorm
from litmus.callbacks.learning_rate import LearningRate
from litmus.callbacks.overfit_check import OverfitCheck
from litmus.callbacks.sample_images import SampleImages
from litmus.callbacks.sparsity import Sparsity
from litmus.callbacks.test_curve import TestCurve
from litmus.callbacks.weight_norm import WeightNorm
from litmus.callbacks.worst_mistakes import WorstMistakes

__all__ = [
    "Calibration",
    "ConfusionMatrix",
    "EarlyStopping",
    "FirstLayerWeights",
    "FrozenFeatures",
    "GeneralizationGap",
    "GradNorm",
    "LearningRate",
    "OverfitCheck",
    "SampleImages",
    "Sparsity",
    "TestCurve",
    "WeightNorm",
    "WorstMistakes",
]
