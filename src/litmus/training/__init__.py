"""One fit: the epoch loop, the compiled step and what they need. Models, data and callbacks are not here."""
