"""What predictions say together.

metrics      of one set of predictions
bootstrap    of patients
replicates   which predictions belong together
statistics   means with intervals, comparisons, subgroups
verdict      the answer in two sentences
"""
