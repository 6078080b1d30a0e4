"""Many runs: grid, search, launching, leaderboard, retraining. One run is in litmus.runs."""
