"""Comparison of algorithm versions, the basis for judging a candidate."""
