"""What a study will run, before anything starts.

config      its settings
protocol    which patients are trained, validated and tested on
sources     which patches they are filled up from
regimes     what training sets are made of
plan        all of it, checked and counted
synthetic   the generators it needs, and their samples
"""
