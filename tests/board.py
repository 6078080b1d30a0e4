"""What a run put into TensorBoard."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


class Board:
    def __init__(self, run: Path):
        self.events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
        self.events.Reload()

    def scalars(self, tag: str) -> dict[int, float]:
        """The values by their step."""
        return {event.step: event.value for event in self.events.Scalars(tag)}

    def times(self, tag: str) -> list[float]:
        """When its values were written, in seconds since 1970."""
        return [event.wall_time for event in self.events.Scalars(tag)]

    def images(self, tag: str) -> dict[int, np.ndarray]:
        """The pictures (H, W, 3) by their step."""
        if tag not in self.events.Tags()["images"]:
            return {}
        return {
            event.step: np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB"))
            for event in self.events.Images(tag)
        }
