"""The parts of a data set, and what they may be called in the names of folders and arrays."""

PARTS = {"train": "training", "val": "validation", "test": "test"}

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
