"""What a study will run, before anything starts.

config      its settings
protocol    which patients are trained, validated and tested on
regimes     what training sets are made of
plan        all of it, checked and counted
synthetic   the generators it needs, and their samples
"""
