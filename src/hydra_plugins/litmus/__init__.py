"""Hydra plugins: the launchers and the sweeper. Hydra imports them at every start, so they import nothing heavy."""
