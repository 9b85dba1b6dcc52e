"""The names of the kinds of augmentation, without importing torch."""

__all__ = ["KINDS", "PLAIN_KINDS", "VIDEO_KINDS"]

#: What fervid.lab.training.augment does.
PLAIN_KINDS = ("flip", "move", "soften", "light", "compress", "erase")
#: What video does to faces that are aligned by their landmarks: shake is in fervid.lab.training.resample, the others
#: are in fervid.lab.training.degrade.
VIDEO_KINDS = ("shake", "small", "soft", "jpeg", "grey", "dark", "gamma", "tint", "noise", "covered")
KINDS = PLAIN_KINDS + VIDEO_KINDS
