"""Turns listed pictures into faces: the record of a picture, its crop, decoding and reading many."""
