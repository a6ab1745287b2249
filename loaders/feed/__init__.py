"""From an opened split to batches: the order of an epoch, read-ahead, and the copy to the device."""
