"""Indicators of bars: what exists (`registry`), how much past each needs (`warmup`), and computing them so that batch and
incremental agree to the last bit (`chunks`).

Pure: frames and arrays in, frames out. Reading the bars a chunk needs and writing the result belong to the shells.
"""
