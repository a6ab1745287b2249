"""Class names of the data sets the recipes name, in the order of the source."""

from __future__ import annotations

AFFECTNET_8 = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
AFFECTNET_7 = AFFECTNET_8[:7]
FER2013_7 = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
FERPLUS_8 = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
CKPLUS48_7 = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
SYNTHETIC_7 = AFFECTNET_7
GENDERS = ("Male", "Female")
"""As FairFace, UTKFace and CelebA label it."""
NO_YES = ("no", "yes")
"""An attribute of CelebA other than gender, and the glasses of the drawn faces."""
FAIRFACE_RACES = ("White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern")
UTKFACE_RACES = ("White", "Black", "Asian", "Indian", "Others")
