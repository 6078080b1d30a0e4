"""One fit: trainer, epoch loop, compiled step, checkpoints, callbacks of every run. No run directories or configs."""
