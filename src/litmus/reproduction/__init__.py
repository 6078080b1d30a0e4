"""Published experiments beside our own runs of them. What was published, and what to run, is in docs/experiments."""
