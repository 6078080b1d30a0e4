"""Seeds as a function of the run seed and the epoch, so that any epoch can be repeated exactly."""

import hashlib


def epoch_seed(seed: int, epoch: int, stream: str = "order") -> int:
    """A 63-bit seed of one epoch; different `stream`s are independent."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
