"""The parts of a data set (train, val, test) and their names in folders and arrays."""

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
