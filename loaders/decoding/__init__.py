"""From a listed picture to a face: the record of a picture, its crop, decoding and reading many."""
