"""The cases, steps and checks of `python scripts/benchmark gpu`; gpu_report.py puts them together."""
