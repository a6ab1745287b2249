"""Delivers opened faces as batches: the order of an epoch, read-ahead, and the copy to the device."""
