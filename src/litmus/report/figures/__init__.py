"""Figures of a report. Imports matplotlib, so import it when the first figure is drawn."""

from litmus.report.figures.curves import draw_curves
from litmus.report.figures.matrix import draw_matrices
from litmus.report.figures.paired import draw_paired
from litmus.report.figures.style import also_as_pdf
from litmus.report.figures.swept import draw_swept
from litmus.report.figures.tuning import draw_budget, draw_sensitivity

__all__ = [
    "also_as_pdf",
    "draw_budget",
    "draw_curves",
    "draw_matrices",
    "draw_paired",
    "draw_sensitivity",
    "draw_swept",
]
