"""What all predictions together say.

metrics      measures of one set of predictions
bootstrap    resampling of patients
replicates   which predictions belong together
statistics   means with intervals, comparisons, subgroups
verdict      the answer in two sentences
"""
