"""What every other package uses: atomic files, seeds, metric directions, the terminal. No models, data or runs."""
