"""Parts of `scripts/benchmark.py gpu`; benchmark_gpu.py puts them together."""
