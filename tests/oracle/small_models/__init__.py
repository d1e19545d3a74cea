"""Builders of the small SavedModels, by theme; see `oracle.saved_models`, which finds every module of this folder."""
