"""A trained model in use: load, evaluate, predict, perturb, export. Nothing here trains."""
