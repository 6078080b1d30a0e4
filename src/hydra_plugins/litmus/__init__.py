"""Litmus' launcher and sweeper, where Hydra looks for them. Found at every start: nothing heavy at any top."""
